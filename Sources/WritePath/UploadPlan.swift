/// Which parts a multipart upload is made of: what is sent, and what the server copies from the base.
///
///     base, clean   |----------------------------|            |-----------------|
///     dirty                                      |--|      |--|                 |----|
///     plan          |    copy    |     copy      | send 5 MiB |      copy       |send|
///
/// A pure value. Every part but the last has at least 5 MiB, and there are at most 10,000 (S3: "Multipart upload
/// limits"), so a change is sent together with its neighbourhood where it is smaller, and scattered changes are joined.
struct UploadPlan: Hashable, Sendable {
  /// One part.
  struct Part: Hashable, Sendable {
    /// 1...10,000, ascending without gaps.
    var number: Int
    /// Its bytes in the file.
    var range: Range<UInt64>
    /// Whether the server copies it from the base.
    var isCopy: Bool
  }

  /// The parts, in the order of the file.
  var parts: [Part]

  /// The least a part may have unless it is the last: 5 MiB.
  static let minimumPartSize: UInt64 = 5 << 20
  /// What one copy is asked to do: a few at once use several disks of the server, and each costs a request.
  static let copySize: UInt64 = 128 << 20

  /// The parts of a file without a base, or on a server that copies none: they can leave while the file still grows.
  init(size: UInt64) {
    parts = (0..<PartLayout.partCount(size: size)).map { index in
      Part(number: index + 1, range: PartLayout.range(ofPart: index, size: size), isCopy: false)
    }
  }

  /// The parts of a changed object.
  /// - Parameters:
  ///   - size: length of the file in bytes.
  ///   - dirty: what differs from the base.
  ///   - baseLimit: bytes below this are the base's unless they are dirty.
  init(size: UInt64, dirty: RangeSet64, baseLimit: UInt64) {
    let clean = dirty.gaps(in: 0..<min(baseLimit, size))
    var scale: UInt64 = 1
    var parts = clean.isEmpty ? Self(size: size).parts : Self.parts(size: size, clean: clean, scale: scale)
    while parts.count > PartLayout.maximumPartCount {
      // So many changes: the short stretches between them are sent as well, and the parts are larger.
      scale *= 2
      parts = Self.parts(size: size, clean: clean, scale: scale)
    }
    self.parts = parts
  }

  private static func parts(size: UInt64, clean: [Range<UInt64>], scale: UInt64) -> [Part] {
    var parts: [Part] = []
    func add(_ range: Range<UInt64>, isCopy: Bool) {
      for piece in pieces(
        of: range, isLast: range.upperBound == size, isCopy ? copySize : PartLayout.firstPartSize, scale)
      {
        parts.append(Part(number: parts.count + 1, range: piece, isCopy: isCopy))
      }
    }
    for copied in copies(size: size, clean: clean, shortest: minimumPartSize * scale) {
      let position = parts.last?.range.upperBound ?? 0
      if copied.lowerBound > position { add(position..<copied.lowerBound, isCopy: false) }
      add(copied, isCopy: true)
    }
    let position = parts.last?.range.upperBound ?? 0
    if position < size { add(position..<size, isCopy: false) }
    return parts
  }

  /// The stretches that are copied: of the clean ones, those long enough, each without what the change before it needs
  /// to be a part of its own.
  private static func copies(size: UInt64, clean: [Range<UInt64>], shortest: UInt64) -> [Range<UInt64>] {
    var copies: [Range<UInt64>] = []
    for stretch in clean {
      let sentFrom = copies.last?.upperBound ?? 0
      var start = stretch.lowerBound
      // What is sent before it must be long enough, too.
      if start > sentFrom { start = max(start, sentFrom + minimumPartSize) }
      guard start < stretch.upperBound else { continue }
      let length = stretch.upperBound - start
      guard length >= shortest || stretch.upperBound == size else { continue }
      copies.append(start..<stretch.upperBound)
    }
    return copies
  }

  /// A range cut into parts of about the wanted size, none too short.
  private static func pieces(
    of range: Range<UInt64>, isLast: Bool, _ wanted: UInt64, _ scale: UInt64
  ) -> [Range<UInt64>] {
    let partsPerPlan: UInt64 = 4000
    let mebibyte: UInt64 = 1 << 20
    let length = range.upperBound - range.lowerBound
    // At most 5 GiB a part (S3: UploadPartCopy): 5 TiB in 4,000 pieces stay below it.
    let least = (length / partsPerPlan / mebibyte + 1) * mebibyte
    let pieceSize = max(wanted * scale, least)
    var pieces: [Range<UInt64>] = []
    var position = range.lowerBound
    while position < range.upperBound {
      var end = min(position + pieceSize, range.upperBound)
      let rest = range.upperBound - end
      if rest < minimumPartSize, !isLast || rest == 0 { end = range.upperBound }
      pieces.append(position..<end)
      position = end
    }
    return pieces
  }
}
