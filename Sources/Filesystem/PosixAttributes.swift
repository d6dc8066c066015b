public import Basics
import Glibc
public import ObjectStore

/// The type bits of st_mode.
public enum FileType: UInt32, Hashable, Sendable {
  case file = 0o100000
  case directory = 0o040000
  case link = 0o120000

  /// The bits of st_mode that hold the type.
  static let mask: UInt32 = 0o170000
}

/// Mode, owner and times as they are kept with an object, in the form s3fs uses:
///
///     x-amz-meta-mode    decimal st_mode, type included (33188 for a 0644 file)
///     x-amz-meta-uid     decimal
///     x-amz-meta-gid     decimal
///     x-amz-meta-mtime   seconds, or seconds.nanoseconds
///     x-amz-meta-ctime   likewise
///     x-amz-meta-atime   likewise
///
/// A directory's marker carries the same once more as parameters of its Content-Type
/// (`application/x-directory; mode=16877; ...`), since some servers drop the metadata of a key that ends in a slash and
/// keep its type.
public struct PosixAttributes: Hashable, Sendable {
  /// Permission bits, without the type; nil where the object carries none.
  public var permissions: UInt32?
  /// File type; nil where the object carries none.
  public var type: FileType?
  /// Owner; nil where the object carries none.
  public var uid: UInt32?
  /// Group; nil where the object carries none.
  public var gid: UInt32?
  /// Last change of the contents.
  public var modified: Timestamp?
  /// Last change of contents or attributes.
  public var changed: Timestamp?
  /// Last access, where a program set it.
  public var accessed: Timestamp?

  static let directoryContentType = "application/x-directory"

  /// Attributes that say nothing.
  public init() {}

  /// Reads what an object carries; values that make no sense count as absent.
  public init(_ metadata: ObjectMetadata) {
    let fields = Self.fields(of: metadata)
    if let mode = fields["mode"].flatMap({ UInt32($0) }) {
      permissions = mode & 0o7777
      type = FileType(rawValue: mode & FileType.mask)
    }
    uid = fields["uid"].flatMap { UInt32($0) }
    gid = fields["gid"].flatMap { UInt32($0) }
    modified = fields["mtime"].flatMap(Self.parseTime)
    changed = fields["ctime"].flatMap(Self.parseTime)
    accessed = fields["atime"].flatMap(Self.parseTime)
  }

  /// What an object carries: its headers, and the parameters of a directory's type.
  static func fields(of metadata: ObjectMetadata) -> [String: String] {
    guard let type = metadata.contentType, type.hasPrefix(directoryContentType) else { return metadata.userMetadata }
    var fields = metadata.userMetadata
    for parameter in type.split(separator: ";").dropFirst() {
      let pair = parameter.split(separator: "=", maxSplits: 1).map { $0.filter { $0 != " " && $0 != "\"" } }
      if pair.count == 2, fields[pair[0]] == nil { fields[pair[0]] = pair[1] }
    }
    return fields
  }

  /// The metadata headers for these attributes.
  /// - Parameter keeping: headers of the present object; those that are not attributes stay.
  public func userMetadata(type: FileType, keeping: [String: String] = [:]) -> [String: String] {
    var fields = keeping
    for name in Self.names { fields[name] = nil }
    if let permissions { fields["mode"] = "\(type.rawValue | permissions)" }
    if let uid { fields["uid"] = "\(uid)" }
    if let gid { fields["gid"] = "\(gid)" }
    if let modified { fields["mtime"] = Self.format(modified) }
    if let changed { fields["ctime"] = Self.format(changed) }
    if let accessed { fields["atime"] = Self.format(accessed) }
    return fields
  }

  /// What a directory marker with these attributes is stored with.
  /// - Parameter isMarked: whether objects in the directory may carry attributes (`DirectoryMark`).
  public func markerAttributes(keeping: [String: String] = [:], isMarked: Bool) -> ObjectAttributes {
    var fields = userMetadata(type: .directory, keeping: keeping)
    fields[DirectoryMark.field] = isMarked ? "1" : nil
    var contentType = Self.directoryContentType
    for name in Self.names + [DirectoryMark.field] {
      if let value = fields[name] { contentType += "; \(name)=\(value)" }
    }
    return ObjectAttributes(contentType: contentType, userMetadata: fields)
  }

  /// These, without the set-ID bits that others have lost: a write may take them away while an upload is under way that
  /// began with them.
  func lackingPrivileges(of others: PosixAttributes) -> PosixAttributes {
    var result = self
    if let kept = others.permissions { result.permissions = permissions.map { $0 & (kept | ~0o6000) } }
    return result
  }

  /// Permission bits as a write, a truncation or a change of the owner leaves them: without the set-user-ID bit, and
  /// without the set-group-ID bit where the group may execute the file. Unlike the kernel's own rule it holds for root,
  /// too: the kernel does not tell a filesystem who may keep them.
  static func withoutPrivileges(_ permissions: UInt32) -> UInt32 {
    let isGroupProgram = permissions & 0o2010 == 0o2010
    return permissions & ~(isGroupProgram ? 0o6000 : 0o4000)
  }

  /// Whether a write takes a bit away.
  var hasPrivileges: Bool { permissions.map { Self.withoutPrivileges($0) != $0 } ?? false }

  private static let names = ["mode", "uid", "gid", "mtime", "ctime", "atime"]

  static func parseTime(_ text: String) -> Timestamp? {
    let halves = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard let seconds = halves.first.flatMap({ Int64($0) }) else { return nil }
    guard halves.count == 2 else { return Timestamp(seconds: seconds) }
    let digits = halves[1].prefix(9)
    guard !digits.isEmpty, halves[1].allSatisfy({ $0.isASCII && $0.isNumber }), var fraction = UInt32(digits) else {
      return nil
    }
    for _ in digits.count..<9 { fraction *= 10 }
    return Timestamp(seconds: seconds, nanoseconds: fraction)
  }

  static func format(_ time: Timestamp) -> String {
    guard time.nanoseconds > 0 else { return "\(time.seconds)" }
    let digits = String(time.nanoseconds)
    return "\(time.seconds)." + String(repeating: "0", count: 9 - digits.count) + digits
  }
}
