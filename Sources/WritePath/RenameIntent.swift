public import ObjectStore

/// A rename under way, so that a daemon that dies in the middle leaves a note of what to finish.
///
///     waysfs-rename 1                 format version
///     sequence=1700000000000002       in the order of the records of files
///     source=docs/a                   the key, percent-encoded; of a directory with its `/`
///     destination=docs/b
///     kind=file                       or directory
///     etag=ETAG                       of the source; may be missing
///     size=1048576                    of the source in bytes; may be missing
///     replaced=absent                 or unknown, or version:ETAG: what the destination was before
///     supersedes=1699999999000001     the record of a file that had the destination's name; may be missing
///     phase=copying                   or deleting, or deleting:ETAG with the new version of the destination
///     checksum=9f86d081884c7d65       FNV-1a of all lines above
public struct RenameIntent: Hashable, Sendable {
  /// What stood at the destination before.
  public enum Replaced: Hashable, Sendable {
    /// Nobody asked.
    case unknown
    /// Nothing.
    case absent
    /// That version of an object.
    case version(ETag)
  }

  /// How far it has come.
  public enum Phase: Hashable, Sendable {
    /// The destination may or may not be made.
    case copying
    /// The destination is whole, with that version where it is known; the source goes.
    case deleting(ETag?)
  }

  /// The old key; of a directory the prefix that all its keys have.
  public var source: ObjectKey
  /// The new key or prefix.
  public var destination: ObjectKey
  /// Whether everything below goes along.
  public var isDirectory: Bool
  /// The version of the source, for a file.
  public var sourceETag: ETag?
  /// Its length in bytes.
  public var sourceSize: UInt64?
  /// What stood at the destination before.
  public var replaced: Replaced
  /// The sequence number of the record of a file that had the destination's name: nobody needs it once this is done.
  public var supersedes: UInt64?
  /// How far it has come.
  public var phase: Phase

  private static let header = "waysfs-rename 1"

  /// Makes an intent.
  public init(
    source: ObjectKey, destination: ObjectKey, isDirectory: Bool, sourceETag: ETag? = nil, sourceSize: UInt64? = nil,
    replaced: Replaced = .unknown, supersedes: UInt64? = nil, phase: Phase = .copying
  ) {
    self.source = source
    self.destination = destination
    self.isDirectory = isDirectory
    self.sourceETag = sourceETag
    self.sourceSize = sourceSize
    self.replaced = replaced
    self.supersedes = supersedes
    self.phase = phase
  }

  /// The intent as the bytes of a file.
  func encoded(sequence: UInt64) -> String {
    var lines = [
      "sequence=\(sequence)", "source=\(PercentText.encode(source.string))",
      "destination=\(PercentText.encode(destination.string))", "kind=\(isDirectory ? "directory" : "file")",
    ]
    if let sourceETag { lines.append("etag=\(PercentText.encode(sourceETag.value))") }
    if let sourceSize { lines.append("size=\(sourceSize)") }
    switch replaced {
    case .unknown: lines.append("replaced=unknown")
    case .absent: lines.append("replaced=absent")
    case .version(let etag): lines.append("replaced=version:\(PercentText.encode(etag.value))")
    }
    if let supersedes { lines.append("supersedes=\(supersedes)") }
    switch phase {
    case .copying: lines.append("phase=copying")
    case .deleting(nil): lines.append("phase=deleting")
    case .deleting(let etag?): lines.append("phase=deleting:\(PercentText.encode(etag.value))")
    }
    return RecordText.seal(Self.header, lines)
  }

  /// Reads an intent and its place in the order; nil when anything about it is not as written.
  static func decode(_ text: String) -> (intent: RenameIntent, sequence: UInt64)? {
    guard let lines = RecordText.open(text, header: header), let fields = RecordText.unique(lines),
      let sequence = fields["sequence"].flatMap({ UInt64($0) }), sequence <= JournalRecord.maximumSequence,
      let source = fields["source"].flatMap(PercentText.decode),
      let destination = fields["destination"].flatMap(PercentText.decode),
      let kind = fields["kind"], ["file", "directory"].contains(kind),
      let replaced = fields["replaced"].flatMap(Replaced.init(decoding:)),
      let phase = fields["phase"].flatMap(Phase.init(decoding:))
    else { return nil }
    var intent = RenameIntent(
      source: ObjectKey(source), destination: ObjectKey(destination), isDirectory: kind == "directory",
      replaced: replaced, phase: phase)
    if let etag = fields["etag"] {
      guard let etag = PercentText.decode(etag) else { return nil }
      intent.sourceETag = ETag(etag)
    }
    if let size = fields["size"] {
      guard let size = UInt64(size) else { return nil }
      intent.sourceSize = size
    }
    if let number = fields["supersedes"] {
      guard let number = UInt64(number) else { return nil }
      intent.supersedes = number
    }
    return (intent, sequence)
  }
}

extension RenameIntent.Replaced {
  fileprivate init?(decoding text: String) {
    switch text {
    case "unknown": self = .unknown
    case "absent": self = .absent
    default:
      guard let etag = text.value(of: "version", separator: ":").flatMap(PercentText.decode) else { return nil }
      self = .version(ETag(etag))
    }
  }
}

extension RenameIntent.Phase {
  fileprivate init?(decoding text: String) {
    switch text {
    case "copying": self = .copying
    case "deleting": self = .deleting(nil)
    default:
      guard let etag = text.value(of: "deleting", separator: ":").flatMap(PercentText.decode) else { return nil }
      self = .deleting(ETag(etag))
    }
  }
}
