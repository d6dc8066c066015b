public import ObjectStore

/// The version of a file that was closed or fsynced: all that has to be known to upload it later.
///
///     waysfs-journal 1                format version
///     sequence=1700000000000001       grows with each record: the order in which they were made
///     time=1700000000                 when it was made, seconds since 1970
///     state=closed                    or synced
///     durable=no                      or yes: whether it and its data were on stable storage when it got its name
///     boot=1b4e28ba                   the run of the machine in which it was made, percent-encoded
///     data=17.data                    its bytes, in the same directory
///     key=docs/a%20b.txt              where it goes, percent-encoded
///     size=1048576                    length in bytes
///     condition=match:ETAG            or absent, or none
///     base=ETAG:SIZE:KEY              the version it was made from; left out for a new file
///     present=0-4096,8192-12288       the bytes that are in the data file
///     dirty=0-4096                    of these, what differs from the base
///     supersedes=1699999999000001     records of files whose names it has taken; may be missing
///     type=text/plain                 Content-Type, percent-encoded; may be missing
///     cache-control=no-store          likewise each other StoredHeader
///     meta=mode:33188                 one line for each x-amz-meta-* header, value percent-encoded
///     checksum=9f86d081884c7d65       FNV-1a of all lines above
public struct JournalRecord: Hashable, Sendable {
  /// What made the record.
  public enum State: String, Hashable, Sendable, CaseIterable {
    /// The file was closed.
    case closed
    /// It was fsynced; it may have been open when the daemon ended.
    case synced
    /// It was about to be removed: if its object is not there any more, nobody wants the bytes.
    case removed
    /// What is not among its bytes was in a version that somebody has replaced: it is kept for a person.
    case stranded
  }

  /// Grows with each record of a journal. Given by `JournalEntry.write`.
  public internal(set) var sequence: UInt64 = 0
  /// When it was written, in seconds since 1970. Given by `JournalEntry.write`.
  public internal(set) var time: Int64 = 0
  /// Name of the data file: `N.data` or `N-M.data`. Given by `JournalEntry.write`.
  var data = "0.data"
  /// Whether it and its data were on stable storage when it was made. Given by `JournalEntry.write`.
  public internal(set) var isDurable = false
  /// The run of the machine in which it was made. Given by `JournalEntry.write`.
  var boot = ""
  /// What made it.
  public var state: State
  /// Where it goes and what is stored with it.
  public var target: UploadTarget
  /// Length in bytes.
  public var size: UInt64
  /// What must hold in the bucket.
  public var condition: WriteCondition
  /// The version it was made from.
  public var base: StagingBase?
  /// The bytes that are in the data file. What is neither in it nor in the base does not exist: a record without it is
  /// not taken.
  public var present: RangeSet64
  /// The bytes of `present` that differ from the base.
  public var dirty: RangeSet64
  /// The sequence numbers of records of other files whose names this one has taken: with this record, nobody needs
  /// those any more.
  var supersedes: [UInt64] = []

  /// The largest sequence number that is believed; there is room above it.
  static let maximumSequence: UInt64 = 1 << 62
  private static let header = "waysfs-journal 1"

  /// Makes a record of a file as it is now.
  public init(
    state: State, target: UploadTarget, size: UInt64, condition: WriteCondition, base: StagingBase?,
    present: RangeSet64, dirty: RangeSet64
  ) {
    self.state = state
    self.target = target
    self.size = size
    self.condition = condition
    self.base = base
    self.present = present
    self.dirty = dirty
  }

  /// Whether it can be true: all bytes are somewhere, and no range passes the end.
  var isSound: Bool {
    // What is neither here nor in the base is nowhere, and would go to the bucket as zeros.
    size <= PartLayout.maximumObjectSize && (base?.size ?? 0) <= PartLayout.maximumObjectSize
      && sequence <= Self.maximumSequence && present.ranges.last.map { $0.upperBound <= size } ?? true
      && present.contains(min(base?.size ?? 0, size)..<size) && dirty.ranges.allSatisfy(present.contains)
  }

  /// The record as the bytes of a file.
  var encoded: String {
    var lines = [
      "sequence=\(sequence)", "time=\(time)", "state=\(state.rawValue)", "durable=\(isDurable ? "yes" : "no")",
      "boot=\(PercentText.encode(boot))", "data=\(data)",
      "key=\(PercentText.encode(target.key.string))", "size=\(size)", "condition=\(condition.encoded)",
    ]
    if let base { lines.append("base=\(base.encoded)") }
    lines += ["present=\(present.encoded)", "dirty=\(dirty.encoded)"]
    if !supersedes.isEmpty { lines.append("supersedes=\(supersedes.map(String.init).joined(separator: ","))") }
    if let type = target.attributes.contentType { lines.append("type=\(PercentText.encode(type))") }
    for (header, value) in target.attributes.headers.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      lines.append("\(header.rawValue.lowercased())=\(PercentText.encode(value))")
    }
    for (name, value) in target.attributes.userMetadata.sorted(by: { $0.key < $1.key }) {
      lines.append("meta=\(PercentText.encode(name)):\(PercentText.encode(value))")
    }
    return RecordText.seal(Self.header, lines)
  }

  /// Reads a record; nil when anything about it is not as written.
  init?(decoding text: String) {
    guard let lines = RecordText.open(text, header: Self.header),
      let fields = RecordText.unique(lines, except: ["meta"]),
      let attributes = Self.attributes(lines, fields),
      let sequence = fields["sequence"].flatMap({ UInt64($0) }), let time = fields["time"].flatMap({ Int64($0) }),
      let state = fields["state"].flatMap(State.init), let durable = fields["durable"],
      ["yes", "no"].contains(durable),
      let boot = fields["boot"].flatMap(PercentText.decode), let data = fields["data"], JournalName.isData(data),
      let key = fields["key"].flatMap(PercentText.decode), let size = fields["size"].flatMap({ UInt64($0) }),
      let condition = fields["condition"].flatMap(WriteCondition.init(decoding:)),
      let present = fields["present"].flatMap(RangeSet64.init(decoding:)),
      let dirty = fields["dirty"].flatMap(RangeSet64.init(decoding:))
    else { return nil }
    var base: StagingBase?
    if let text = fields["base"] {
      base = StagingBase(decoding: text)
      guard base != nil else { return nil }
    }
    self.init(
      state: state, target: UploadTarget(key: ObjectKey(key), attributes: attributes), size: size,
      condition: condition, base: base, present: present, dirty: dirty)
    self.sequence = sequence
    self.time = time
    isDurable = durable == "yes"
    self.boot = boot
    self.data = data
    if let text = fields["supersedes"] {
      let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map { UInt64($0) }
      supersedes = numbers.compactMap { $0 }
      guard supersedes.count == numbers.count else { return nil }
    }
    guard isSound else { return nil }
  }

  private static func attributes(
    _ lines: [(name: String, value: String)], _ fields: [String: String]
  ) -> ObjectAttributes? {
    var attributes = ObjectAttributes()
    if let type = fields["type"] {
      attributes.contentType = PercentText.decode(type)
      guard attributes.contentType != nil else { return nil }
    }
    for header in StoredHeader.allCases {
      guard let text = fields[header.rawValue.lowercased()] else { continue }
      guard let value = PercentText.decode(text) else { return nil }
      attributes.headers[header] = value
    }
    for line in lines where line.name == "meta" {
      guard let (name, value) = line.value.splitOnce(":"), let name = PercentText.decode(name),
        let value = PercentText.decode(value), attributes.userMetadata.updateValue(value, forKey: name) == nil
      else { return nil }
    }
    return attributes
  }
}
