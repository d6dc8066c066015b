import ObjectStore

/// How attributes are found out that a listing does not show.
public enum AttributesMode: String, Hashable, Sendable, CaseIterable {
  /// Asked for where a directory is marked as holding objects that carry some; elsewhere the listing is the truth.
  case auto
  /// Asked for everywhere.
  case always
  /// Nowhere: the listing is the truth, and what it cannot show is refused.
  case never
}

/// The mark of a directory whose objects may carry attributes, on the object that stands for the directory:
///
///     name/                  x-amz-meta-waysfs-attributes: 1
///                            Content-Type: application/x-directory; mode=16877; ...; waysfs-attributes=1
///     .waysfs-attributes     the root of a bucket, which has no marker: there is such an object
///
/// Twice, like the attributes of the directory itself, since some servers drop the one and keep the other.
enum DirectoryMark {
  /// The header and the parameter.
  static let field = "waysfs-attributes"
  /// The object at the root of a bucket; no file can have this name there.
  static let rootName = ".waysfs-attributes"
  /// The types that mean a directory to the tools that write markers.
  private static let directoryTypes = [PosixAttributes.directoryContentType, "httpd/unix-directory"]

  /// Whether the objects in the directory with this marker may carry attributes. A marker that shows nothing of what a
  /// tool writes there may have been marked and have lost it.
  static func isSet(on marker: ObjectMetadata) -> Bool {
    let fields = PosixAttributes.fields(of: marker)
    if let value = fields[field] { return value == "1" }
    guard let type = marker.contentType?.prefix(while: { $0 != ";" && $0 != " " }) else { return fields.isEmpty }
    return fields.isEmpty && !directoryTypes.contains(String(type))
  }
}
