public import Basics
public import ObjectStore

/// Copies within the bucket that work for every size.
public enum ServerSideCopy {
  /// The largest object that CopyObject takes (S3: CopyObject): 5 GiB.
  public static let singleCopyLimit: UInt64 = 5 << 30
  private static let partSize: UInt64 = 1 << 30

  /// Copies an object, or gives it new attributes when both keys are the same; blocks.
  /// - Parameters:
  ///   - etag: the version to copy; a copy in place replaces no other version.
  ///   - attributes: what the copy is stored with; nil keeps those of the source.
  ///   - storageClass: that of the source; the copy gets it where it can be kept.
  /// - Returns: the new version.
  public static func copy(
    from source: ObjectKey, to destination: ObjectKey, size: UInt64, etag: ETag?, attributes: ObjectAttributes?,
    storageClass: String?, in store: any ObjectStore, _ cancellation: Cancellation? = nil
  ) throws(ObjectStoreError) -> PutResult {
    let request = CopyRequest(
      from: source, to: destination, sourceMatch: etag, attributes: attributes,
      storageClass: ObjectAttributes.storageClass(ofCopyFrom: storageClass))
    return try copy(
      request, size: size, in: store, singleCopyLimit: singleCopyLimit, partSize: partSize, cancellation)
  }

  /// The same with limits that a test can reach.
  static func copy(
    _ request: CopyRequest, size: UInt64, in store: any ObjectStore, singleCopyLimit: UInt64, partSize: UInt64,
    _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> PutResult {
    if size <= singleCopyLimit { return try store.copy(request, cancellation) }
    guard size <= PartLayout.maximumObjectSize else {
      throw ObjectStoreError(.invalidSize, "no object is that large", bucket: store.bucket, key: request.source)
    }
    var stored = request.attributes
    if stored == nil { stored = try attributesOfSource(request, in: store, cancellation) }
    var attributes = stored ?? ObjectAttributes()
    attributes.storageClass = request.storageClass
    let upload = try store.createUpload(request.destination, attributes: attributes, cancellation)
    do throws(ObjectStoreError) {
      let starts = Array(stride(from: 0, to: size, by: partSize.asInt))
      let results: [Result<UploadedPart, ObjectStoreError>] = fanOut(over: Array(starts.enumerated()), limit: 8) {
        part, done in
        let range = ByteRange(offset: part.element, length: min(partSize, size - part.element))
        store.copyPart(
          upload, number: part.offset + 1, from: request.source, range: range, sourceMatch: request.sourceMatch,
          cancellation, done)
      }
      var parts: [UploadedPart] = []
      for result in results { parts.append(try result.get()) }
      // In place, the parts are of the version that was asked for; what somebody else stored since must stay.
      let isInPlace = request.source == request.destination
      let condition = isInPlace ? request.sourceMatch.map { WriteCondition.ifMatch($0) } : nil
      return try store.completeUpload(upload, parts: parts, condition: condition ?? .none, cancellation)
    } catch {
      try? store.abortUpload(upload)
      throw error
    }
  }

  /// A multipart upload takes no attributes from its source, as CopyObject does.
  private static func attributesOfSource(
    _ request: CopyRequest, in store: any ObjectStore, _ cancellation: Cancellation?
  ) throws(ObjectStoreError) -> ObjectAttributes {
    let metadata = try store.head(request.source, cancellation)
    guard request.sourceMatch == nil || request.sourceMatch == metadata.etag else {
      throw ObjectStoreError(
        .preconditionFailed, "the object was changed by somebody else", bucket: store.bucket, key: request.source)
    }
    return ObjectAttributes(
      contentType: metadata.contentType, headers: metadata.headers, userMetadata: metadata.userMetadata)
  }
}
