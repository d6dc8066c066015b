public import Basics
public import ObjectStore

/// Copies within the bucket that work for every size.
public enum ServerSideCopy {
  /// The largest object that CopyObject takes (S3: CopyObject): 5 GiB.
  public static let singleCopyLimit: UInt64 = 5 << 30
  private static let partSize: UInt64 = 1 << 30

  /// Copies an object, or gives it new attributes when both keys are the same; blocks.
  /// - Parameters:
  ///   - attributes: what the copy is stored with; for a large object they must be given, since a multipart upload
  ///     takes none from its source.
  /// - Returns: the new version.
  public static func copy(
    from source: ObjectKey, to destination: ObjectKey, size: UInt64, etag: ETag?, attributes: ObjectAttributes?,
    in store: any ObjectStore, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> PutResult {
    if size <= singleCopyLimit {
      return try store.copy(
        CopyRequest(from: source, to: destination, sourceMatch: etag, attributes: attributes), cancellation)
    }
    let stored: ObjectAttributes
    if let attributes {
      stored = attributes
    } else {
      let metadata = try store.head(source, cancellation)
      stored = ObjectAttributes(contentType: metadata.contentType, userMetadata: metadata.userMetadata)
    }
    let upload = try store.createUpload(destination, attributes: stored, cancellation)
    do throws(ObjectStoreError) {
      let starts = Array(stride(from: 0, to: size, by: Int(partSize)))
      let results: [Result<UploadedPart, ObjectStoreError>] = fanOut(over: Array(starts.enumerated()), limit: 8) {
        part, done in
        let range = ByteRange(offset: part.element, length: min(partSize, size - part.element))
        store.copyPart(
          upload, number: part.offset + 1, from: source, range: range, sourceMatch: etag, cancellation, done)
      }
      var parts: [UploadedPart] = []
      for result in results { parts.append(try result.get()) }
      return try store.completeUpload(upload, parts: parts, condition: .none, cancellation)
    } catch {
      try? store.abortUpload(upload)
      throw error
    }
  }
}
