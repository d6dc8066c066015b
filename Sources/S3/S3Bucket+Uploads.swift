public import Basics
import HTTPTransport
public import ObjectStore

/// Listing uploads and their parts, page by page.
extension S3Bucket {
  /// See `ObjectStore.listParts` (S3: ListParts).
  public func listParts(
    _ upload: MultipartUpload, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[UploadedPart]>
  ) {
    guard checked(upload.key, completion) else { return }
    collect(
      .listParts, key: upload.key, from: [], [], cancellation,
      query: { marker in [("uploadId", upload.id), ("max-parts", "1000")] + marker },
      read: { response throws(XMLError) in
        let document = try response.records("Part", root: "ListPartsResult", "ListPartsResponse")
        var parts: [UploadedPart] = []
        for record in document.records {
          guard let number = record["PartNumber"].flatMap({ Int($0) }), let etag = record["ETag"] else {
            throw XMLError(message: "A part has no number or tag.")
          }
          parts.append(UploadedPart(number: number, etag: ETag(etag), size: record["Size"].flatMap { UInt64($0) }))
        }
        return PageOf(document, parts, markers: [("part-number-marker", "NextPartNumberMarker")])
      },
      { result in
        completion(result.ofUpload().map { parts in parts.sorted { $0.number < $1.number } })
      })
  }

  /// See `ObjectStore.listUploads` (S3: ListMultipartUploads).
  public func listUploads(
    prefix: String, _ cancellation: Cancellation?, _ completion: @escaping StoreCompletion<[MultipartUpload]>
  ) {
    collect(
      .listUploads, key: nil, from: [], [], cancellation,
      query: { marker in
        // No encoding is asked for: one server here announces it and does not do it.
        [("uploads", ""), ("max-uploads", "1000"), ("prefix", prefix)] + marker
      },
      read: { response throws(XMLError) in
        let document = try response.records("Upload", root: "ListMultipartUploadsResult")
        let isEncoded = document.fields["EncodingType"] == "url"
        var uploads: [MultipartUpload] = []
        for record in document.records {
          guard let text = record["Key"], let id = record["UploadId"], let key = isEncoded ? formDecoded(text) : text
          else { throw XMLError(message: "An upload has no key or id.") }
          uploads.append(MultipartUpload(key: ObjectKey(key), id: id))
        }
        return PageOf(
          document, uploads, markers: [("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker")],
          encoded: isEncoded ? ["NextKeyMarker"] : [])
      },
      { result in
        // One server here lists all uploads whatever the prefix.
        completion(result.map { uploads in uploads.filter { $0.key.hasPrefix(prefix) } })
      })
  }

  private typealias Query = [(name: String, value: String)]

  /// Fetches page after page until one is the last.
  private func collect<Item: Sendable>(
    _ kind: RequestKind, key: ObjectKey?, from marker: Query, _ earlier: [Item], _ cancellation: Cancellation?,
    query: @escaping @Sendable (Query) -> Query,
    read: @escaping @Sendable (HTTPResponse) throws(XMLError) -> PageOf<Item>,
    _ completion: @escaping StoreCompletion<[Item]>
  ) {
    let wire = request(.get, key, query(marker))
    let operation = Operation<PageOf<Item>>(kind, wire, limit: core.answerLimit) { response in
      response.parsed { () throws(XMLError) in
        let page = try read(response)
        if let next = page.next, next.elementsEqual(marker, by: { $0 == $1 }) || next.isEmpty {
          throw XMLError(message: "The listing is cut, but does not say how to go on.")
        }
        return page
      }
    }
    Exchange.run(core, metrics, operation, cancellation) { [self] result, _ in
      switch result {
      case .failure(let error): completion(.failure(error))
      case .success(let page):
        let all = earlier + page.items
        guard let next = page.next else { return completion(.success(all)) }
        collect(kind, key: key, from: next, all, cancellation, query: query, read: read, completion)
      }
    }
  }
}

/// A page of a listing that goes on with markers.
private struct PageOf<Item: Sendable>: Sendable {
  var items: [Item]
  /// The markers of the next page; nil on the last.
  var next: [(name: String, value: String)]?

  /// - Parameters:
  ///   - markers: the query item of each marker, and the element that tells it.
  ///   - encoded: the elements that are percent-encoded.
  init(
    _ document: RecordsHandler, _ items: [Item], markers: [(item: String, element: String)], encoded: Set<String> = []
  ) {
    self.items = items
    guard document.fields["IsTruncated"] == "true" else { return }
    next = markers.compactMap { marker in
      guard let text = document.fields[marker.element], !text.isEmpty else { return nil }
      let value = encoded.contains(marker.element) ? formDecoded(text) : text
      return value.map { (name: marker.item, value: $0) }
    }
  }
}
