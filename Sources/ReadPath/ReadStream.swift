/// One run of reads that goes forward through a file, as far as the kernel's pieces, which arrive out of order and from
/// several threads, let it be seen. All positions and lengths are in bytes.
struct ReadStream: Sendable, Hashable {
  /// One past the highest byte that was read.
  var position: UInt64
  /// One past the highest byte that is there or asked for; below `position` only until the read is planned.
  var ahead: UInt64
  /// How far ahead of `position` to be; 0 while it is not known to be sequential.
  var window: UInt64
  /// `position` when the window last grew.
  var grownAt: UInt64
  /// Bytes read since the window opened.
  var consumedSinceOpen: UInt64 = 0
  /// The number of the last read that belonged to it.
  var lastUse: UInt64
  /// Reads that went on where the stream stood.
  private var hits = 0
  /// Bytes that were read going forward, and bytes that were jumped over and not come back to.
  private var consumed: UInt64
  private var skipped: UInt64 = 0

  /// What still counts as the same stream: kernel read-ahead is 128 KiB to 1 MiB and two of those may be swapped.
  static let skipTolerance: UInt64 = 1 << 20
  static let backTolerance: UInt64 = 2 << 20

  init(offset: UInt64, end: UInt64, window: UInt64, use: UInt64) {
    position = end
    ahead = offset
    self.window = window
    grownAt = offset
    lastUse = use
    consumed = end - offset
    consumedSinceOpen = window > 0 ? consumed : 0
  }

  /// Whether a read at `offset` may belong to this stream.
  func reaches(_ offset: UInt64) -> Bool {
    let low = position - min(position, Self.backTolerance)
    return offset >= low && offset <= max(position + Self.skipTolerance, ahead)
  }

  /// Whether `offset` is about where the stream stands or goes, and counted as there or asked for.
  func expects(_ offset: UInt64) -> Bool {
    ahead > offset && position <= offset + Self.backTolerance
  }

  /// How far `offset` is from where the stream stands.
  func distance(to offset: UInt64) -> UInt64 {
    offset >= position ? offset - position : position - offset
  }

  /// Takes a read in. Opens the window when the stream proves sequential and closes it when it proves sparse.
  mutating func note(offset: UInt64, end: UInt64, use: UInt64, initialWindow: UInt64) {
    lastUse = use
    if end <= position {
      skipped -= min(skipped, end - offset)
      return
    }
    let exact = offset == position
    if offset > position { skipped += offset - position }
    consumed += end - max(offset, position)
    if window > 0 { consumedSinceOpen += end - max(offset, position) }
    position = end
    if skipped > consumed + Self.skipTolerance {
      window = 0
      consumedSinceOpen = 0
      hits = 0
    } else if window == 0 {
      // Going on at the very byte is proof enough; coming near must happen twice, because random reads do it too.
      hits += exact ? 2 : 1
      if hits >= 2 {
        window = initialWindow
        grownAt = position
        ahead = max(offset, ahead)
      }
    }
    if window == 0 { ahead = position }
    if consumed > 16 << 20 {
      // Old behaviour must not outweigh what the reader does now.
      consumed /= 2
      skipped /= 2
    }
  }
}
