public import ObjectStore

/// What has to be known to upload a staged file later.
///
///     waysfs-unsent 1                 format version
///     data=17.data                    the staging file, in the same directory
///     key=docs/a%20b.txt              where it goes, percent-encoded
///     size=1048576                    length in bytes
///     condition=match:ETAG            or absent, or none
///     base=ETAG:SIZE:KEY              the version it was made from; left out for a new file
///     present=0-4096,8192-12288       the bytes that are in the staging file
///     type=text/plain                 Content-Type, percent-encoded; may be missing
///     meta=mode:33188                 one line for each x-amz-meta-* header, value percent-encoded
///     checksum=9f86d081884c7d65       FNV-1a of all lines above
public struct UnsentRecord: Hashable, Sendable {
  /// Name of the staging file.
  public var data: String
  /// Where it goes and what is stored with it.
  public var target: UploadTarget
  /// Length in bytes.
  public var size: UInt64
  /// What must hold in the bucket.
  public var condition: WriteCondition
  /// The version it was made from.
  public var base: StagingBase?
  /// The bytes that are in the staging file.
  public var present: RangeSet64

  private static let header = "waysfs-unsent 1"

  /// The record as the bytes of a file.
  public var encoded: String {
    var lines = [Self.header, "data=\(data)", "key=\(PercentText.encode(target.key.string))", "size=\(size)"]
    switch condition {
    case .none: lines.append("condition=none")
    case .ifAbsent: lines.append("condition=absent")
    case .ifMatch(let etag): lines.append("condition=match:\(PercentText.encode(etag.value))")
    }
    if let base {
      lines.append(
        "base=\(PercentText.encode(base.etag.value)):\(base.size):\(PercentText.encode(base.key.string))")
    }
    lines.append("present=" + present.ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ","))
    if let type = target.attributes.contentType { lines.append("type=\(PercentText.encode(type))") }
    for (name, value) in target.attributes.userMetadata.sorted(by: { $0.key < $1.key }) {
      lines.append("meta=\(PercentText.encode(name)):\(PercentText.encode(value))")
    }
    let text = lines.map { $0 + "\n" }.joined()
    return text + "checksum=\(String(Checksum.of(text), radix: 16))\n"
  }

  /// Reads a record; nil when anything about it is not as written.
  public init?(decoding text: String) {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.count >= 2, lines.removeLast().isEmpty, let last = lines.popLast(),
      let sum = last.value(of: "checksum"), lines.first == Self.header,
      sum == String(Checksum.of(lines.map { $0 + "\n" }.joined()), radix: 16)
    else { return nil }
    var fields: [String: String] = [:]
    var metadata: [String: String] = [:]
    for line in lines.dropFirst() {
      guard let (name, value) = line.splitOnce("=") else { return nil }
      if name == "meta" {
        guard let (key, text) = value.splitOnce(":"), let key = PercentText.decode(key),
          let text = PercentText.decode(text)
        else { return nil }
        guard metadata.updateValue(text, forKey: key) == nil else { return nil }
      } else {
        guard fields.updateValue(value, forKey: name) == nil else { return nil }
      }
    }
    guard let data = fields["data"], Self.isDataName(data), let key = fields["key"].flatMap(PercentText.decode),
      let size = fields["size"].flatMap(UInt64.init), size <= PartLayout.maximumObjectSize,
      let condition = fields["condition"].flatMap(WriteCondition.init(decoding:)),
      let present = fields["present"].flatMap(RangeSet64.init(decoding:))
    else { return nil }
    if let text = fields["base"] {
      guard let base = StagingBase(decoding: text), base.size <= PartLayout.maximumObjectSize else { return nil }
      self.base = base
    }
    // What is neither here nor in the base is nowhere, and would go to the bucket as zeros.
    guard present.ranges.last.map({ $0.upperBound <= size }) ?? true,
      present.contains(min(base?.size ?? 0, size)..<size)
    else { return nil }
    if let text = fields["type"] {
      guard PercentText.decode(text) != nil else { return nil }
    }
    self.data = data
    self.size = size
    self.condition = condition
    self.present = present
    target = UploadTarget(
      key: ObjectKey(key),
      attributes: ObjectAttributes(
        contentType: fields["type"].flatMap(PercentText.decode), userMetadata: metadata))
  }

  /// Whether it is a name that the staging area gives: a number and `.data`.
  private static func isDataName(_ name: String) -> Bool {
    let digits = name.utf8.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    return !digits.isEmpty && name.utf8.dropFirst(digits.count).elementsEqual(".data".utf8)
  }

  init(
    data: String, target: UploadTarget, size: UInt64, condition: WriteCondition, base: StagingBase?,
    present: RangeSet64
  ) {
    self.data = data
    self.target = target
    self.size = size
    self.condition = condition
    self.base = base
    self.present = present
  }
}
