public import ObjectStore

/// Compares objects inside the server, so that none of their bytes travel.
public enum ServerSideComparison {
  /// What one copy is asked to do; S3 takes up to 5 GiB.
  private static let partSize: UInt64 = 1 << 30

  /// Whether two objects of that length have the same bytes, beyond doubt; blocks.
  ///
  /// The tag of an object that was made of parts says where they were cut, so that of a copy is another. But the tag of a
  /// part is the sum of its bytes: both objects are copied into an upload that is never completed, cut in the same way.
  /// - Parameter journal: where that upload is noted, so that the next mount aborts it if this one cannot.
  /// - Returns: false also when the server does not tell: it copies no parts, or its tags are no sums.
  public static func isSame(
    _ one: (key: ObjectKey, etag: ETag), _ other: (key: ObjectKey, etag: ETag), size: UInt64,
    in store: any ObjectStore, noting journal: Journal?
  ) throws(ObjectStoreError) -> Bool {
    do throws(ObjectStoreError) {
      let upload = try store.createUpload(other.key, attributes: ObjectAttributes(), nil)
      let noted = journal?.noteAbandoned(upload)
      defer { if (try? store.abortUpload(upload, nil)) != nil { noted?.done() } }
      for (index, offset) in stride(from: 0, to: size, by: partSize.asInt).enumerated() {
        let range = ByteRange(offset: offset, length: min(partSize, size - offset))
        let first = try store.copyPart(
          upload, number: 2 * index + 1, from: one.key, range: range, sourceMatch: one.etag, nil)
        let second = try store.copyPart(
          upload, number: 2 * index + 2, from: other.key, range: range, sourceMatch: other.etag, nil)
        guard first.etag == second.etag, first.etag.isSum else { return false }
      }
      return true
    } catch {
      guard error.code == .unsupported || error.code == .preconditionFailed else { throw error }
      return false
    }
  }
}

extension ETag {
  /// Whether it looks like an MD5.
  fileprivate var isSum: Bool {
    let digits = 32
    return value.utf8.count == digits && value.utf8.allSatisfy { Character(UnicodeScalar($0)).isHexDigit }
  }
}
