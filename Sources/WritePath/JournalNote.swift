public import ObjectStore

/// A part of a multipart upload that the server has.
public struct RecordedPart: Hashable, Sendable {
  /// Its number, from 1.
  public var number: Int
  /// The bytes of the file it was made of.
  public var range: Range<UInt64>
  /// What the server said of it.
  public var etag: ETag
  /// Whether the server copied it from the base, so that no byte of it need be here.
  public var isCopy: Bool

  /// Makes a part.
  public init(number: Int, range: Range<UInt64>, etag: ETag, isCopy: Bool) {
    self.number = number
    self.range = range
    self.etag = etag
    self.isCopy = isCopy
  }
}

/// A multipart upload that an earlier mount began, and the parts it had sent.
///
/// Hints: a part may have been made of bytes that have changed since. Who resumes compares each with its bytes.
public struct RecordedUpload: Hashable, Sendable {
  /// The upload.
  public var upload: MultipartUpload
  /// Its parts by ascending number, each at most once.
  public var parts: [RecordedPart]

  /// Makes a recorded upload.
  public init(upload: MultipartUpload, parts: [RecordedPart]) {
    self.upload = upload
    self.parts = parts
  }
}

/// A version that an object may have got without anybody hearing of it.
public struct ExpectedVersion: Hashable, Sendable {
  /// Its tag.
  public var etag: ETag
  /// Whether an upload of another file was to make it, whose name this one has taken: it tells nothing of this one's
  /// bytes.
  public var isInherited = false

  /// Makes one.
  public init(_ etag: ETag, isInherited: Bool = false) {
    self.etag = etag
    self.isInherited = isInherited
  }
}

/// Something worth remembering of a file that is being written. Losing it costs repeated work, never bytes.
public enum JournalNote: Hashable, Sendable {
  /// The file has that key now.
  case name(ObjectKey)
  /// A multipart upload was begun; parts of an earlier one are forgotten.
  case upload(MultipartUpload)
  /// A part of the upload has arrived; replaces an earlier one of that number.
  case part(RecordedPart)
  /// The upload was completed or aborted.
  case uploadEnded
  /// The object is about to get that version: should nobody hear whether it did, it is no stranger's.
  case expected(ExpectedVersion)
  /// An object to try the server with is about to be made under that key.
  case scratch(ObjectKey)
  /// The object has got that version: others that were expected before are of no meaning.
  case stored(ETag)
}

/// The text of a notes file, and what it says.
///
///     17FE8C name=docs/a%20b.txt                 each line: checksum (FNV-1a), space, note
///     9A31B0 upload=docs/a%20b.txt:UPLOAD-ID
///     55D0E4 part=ID-SUM:1:0-8388608:ETAG:sent   or :copy; ID-SUM is the checksum of the upload's id
///     0C77A9 ended
///     8D12F0 expected=ETAG
///     B35C01 inherited=ETAG                     the same, made of another file whose name this one has taken
///     41AA07 stored=ETAG
///     6F0132 scratch=.waysfs-probe-17
///
/// Lines are only ever appended. A line whose checksum does not fit is passed over.
struct JournalNotes: Hashable, Sendable {
  /// The last name.
  private(set) var name: ObjectKey?
  /// The upload that has not ended.
  private(set) var upload: MultipartUpload?
  /// Versions that the object was about to get.
  private(set) var expected: [ExpectedVersion] = []
  /// An object that was made to try the server with.
  private(set) var scratch: ObjectKey?
  private var parts: [Int: RecordedPart] = [:]
  /// Lines that could not be read.
  private(set) var damagedLines = 0

  /// The upload with its parts.
  var recordedUpload: RecordedUpload? {
    upload.map { RecordedUpload(upload: $0, parts: parts.values.sorted { $0.number < $1.number }) }
  }

  init() {}

  /// Reads a notes file, whatever has become of it.
  init(decoding bytes: [UInt8]) {
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      if let note = String(validating: line, as: UTF8.self).flatMap(Self.body), apply(note) { continue }
      damagedLines += 1
    }
  }

  /// The line for a note; nil for a part without an upload.
  static func line(_ note: JournalNote, upload: MultipartUpload?) -> String? {
    let body: String
    switch note {
    case .name(let key): body = "name=\(PercentText.encode(key.string))"
    case .upload(let upload):
      body = "upload=\(PercentText.encode(upload.key.string)):\(PercentText.encode(upload.id))"
    case .part(let part):
      guard let upload else { return nil }
      body =
        "part=\(sum(upload.id)):\(part.number):\(part.range.encoded):\(PercentText.encode(part.etag.value)):"
        + (part.isCopy ? "copy" : "sent")
    case .uploadEnded: body = "ended"
    case .scratch(let key): body = "scratch=\(PercentText.encode(key.string))"
    case .stored(let etag): body = "stored=\(PercentText.encode(etag.value))"
    case .expected(let version):
      body = "\(version.isInherited ? "inherited" : "expected")=\(PercentText.encode(version.etag.value))"
    }
    return "\(sum(body)) \(body)\n"
  }

  private static func sum(_ text: String) -> String { String(Checksum.of(text), radix: 16) }

  private static func body(of line: String) -> String? {
    guard let (checksum, body) = line.splitOnce(" "), checksum.utf8.elementsEqual(sum(body).utf8) else { return nil }
    return body
  }

  private mutating func apply(_ body: String) -> Bool {
    if body == "ended" {
      (upload, parts) = (nil, [:])
      return true
    }
    guard let (kind, value) = body.splitOnce("=") else { return false }
    switch kind {
    case "name":
      guard let key = PercentText.decode(value) else { return false }
      name = ObjectKey(key)
    case "upload":
      guard let (key, id) = value.splitOnce(":"), let key = PercentText.decode(key), let id = PercentText.decode(id)
      else { return false }
      (upload, parts) = (MultipartUpload(key: ObjectKey(key), id: id), [:])
    case "scratch":
      guard let key = PercentText.decode(value) else { return false }
      scratch = ObjectKey(key)
    case "stored":
      guard let etag = PercentText.decode(value) else { return false }
      expected = [ExpectedVersion(ETag(etag))]
    case "expected", "inherited":
      guard let etag = PercentText.decode(value) else { return false }
      expected.append(ExpectedVersion(ETag(etag), isInherited: kind == "inherited"))
    case "part":
      let fields = value.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        .map { String(Substring($0)) }
      guard fields.count == 5, let number = Int(fields[1]), (1...PartLayout.maximumPartCount).contains(number),
        let range = Range<UInt64>(decoding: fields[2]), let etag = PercentText.decode(fields[3]),
        ["copy", "sent"].contains(fields[4])
      else { return false }
      // A part of another upload: the line that began it was lost.
      guard let upload, fields[0].utf8.elementsEqual(Self.sum(upload.id).utf8) else { return true }
      parts[number] = RecordedPart(number: number, range: range, etag: ETag(etag), isCopy: fields[4] == "copy")
    default: return false
    }
    return true
  }
}
