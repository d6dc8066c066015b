import ObjectStore

/// What the server can do for writers, tried out on scratch objects that are removed again.
struct WriteChecks<Store: ObjectStore> {
  let store: Store
  /// What the keys start with.
  let prefix: String
  let settings: MountSettings
  var random: () -> UInt64 = { .random(in: .min ... .max) }

  func run(_ report: (Finding) -> Void) {
    // A name that listings of a mount leave out.
    let key = ObjectKey("\(prefix).waysfs-probe-\(String(random(), radix: 16))")
    let copy = ObjectKey("\(key.string)-copy")
    let bytes = Array("written by waysfs doctor; may be deleted".utf8)
    let tag: ETag
    do throws(ObjectStoreError) {
      tag = try store.put(PutRequest(key, body: .bytes(bytes), condition: .ifAbsent)).etag
    } catch {
      // A server may do it all the same, and answer with an error.
      try? store.delete(key)
      return report(Finding("writing", Failure(error, settings: settings)))
    }
    defer { report(removal([key, copy])) }
    do throws(ObjectStoreError) {
      guard try store.get(GetRequest(key)).bytes == bytes else {
        return report(
          Finding(.error, "writing", "what was written does not come back", remedy: "Do not use this server"))
      }
      report(Finding(.ok, "writing", "an object was written and read back"))
    } catch {
      return report(Finding("writing", Failure(error, settings: settings)))
    }
    report(conditions(key, bytes))
    report(checksums(tag, bytes))
    multipart(copy, from: key, bytes, report)
  }

  /// Of the scratch objects: without it files can be neither removed nor renamed.
  private func removal(_ keys: [ObjectKey]) -> Finding {
    var left: [String] = []
    var reason = ""
    for key in keys {
      do throws(ObjectStoreError) {
        try store.delete(key)
      } catch {
        left.append(key.string)
        reason = Failure(error, settings: settings).reason
      }
    }
    guard !left.isEmpty else { return Finding(.ok, "deleting", "what was written is removed again") }
    return Finding(
      .error, "deleting", "what was written may still be there (\(left.joined(separator: ", "))): \(reason)",
      remedy: "Remove it by hand, and give the key pair the right to delete")
  }

  private func conditions(_ key: ObjectKey, _ bytes: [UInt8]) -> Finding {
    let subject = "conditional writes"
    do throws(ObjectStoreError) {
      let isNewRefused = try isRefused(PutRequest(key, body: .bytes(bytes), condition: .ifAbsent))
      let isOtherRefused = try isRefused(PutRequest(key, body: .bytes(bytes), condition: .ifMatch(ETag("no-version"))))
      if isNewRefused, isOtherRefused { return Finding(.ok, subject, "the server minds If-Match and If-None-Match") }
      let ignored = [isNewRefused ? nil : "If-None-Match", isOtherRefused ? nil : "If-Match"].compactMap(\.self)
      return Finding(
        .warning, subject,
        "the server ignores \(ignored.joined(separator: " and ")): changes made by others within one round trip can get lost",
        remedy: "Let only one machine write to a file at a time")
    } catch  where error.code == .unsupported {
      return Finding(
        .warning, subject, "the server does not know them: changes made by others within one round trip can get lost",
        remedy: "Let only one machine write to a file at a time")
    } catch {
      return Finding(subject, Failure(error, settings: settings))
    }
  }

  private func isRefused(_ request: PutRequest) throws(ObjectStoreError) -> Bool {
    do throws(ObjectStoreError) {
      try store.put(request)
      return false
    } catch {
      guard error.code == .preconditionFailed else { throw error }
      return true
    }
  }

  private func checksums(_ tag: ETag, _ bytes: [UInt8]) -> Finding {
    switch store.confirms(tag, .bytes(bytes)) {
    case true?: Finding(.ok, "checksums", "the server's tags are MD5 sums: what it has stored is compared")
    case false?:
      Finding(
        .warning, "checksums", "a tag is not of the bytes that were sent", remedy: "Look into what is before the server"
      )
    case nil: Finding(.ok, "checksums", "the server's tags are no sums; sums go along with each upload")
    }
  }

  private func multipart(_ key: ObjectKey, from source: ObjectKey, _ bytes: [UInt8], _ report: (Finding) -> Void) {
    let length = UInt64(bytes.count)
    do throws(ObjectStoreError) {
      let upload = try store.createUpload(key, attributes: ObjectAttributes())
      defer { try? store.abortUpload(upload) }
      let part = try store.uploadPart(upload, number: 1, body: .bytes(bytes))
      _ = try store.completeUpload(upload, parts: [part])
      report(Finding(.ok, "multipart uploads", "work"))
    } catch {
      return report(Finding("multipart uploads", Failure(error, settings: settings)))
    }
    do throws(ObjectStoreError) {
      let upload = try store.createUpload(key, attributes: ObjectAttributes())
      defer { try? store.abortUpload(upload) }
      let range = ByteRange(offset: 0, length: length)
      _ = try store.copyPart(upload, number: 1, from: source, range: range, sourceMatch: nil)
      report(Finding(.ok, "copies of parts", "the server makes them (UploadPartCopy)"))
    } catch {
      report(
        Finding(
          .warning, "copies of parts", "the server does not make them: \(error.message)",
          remedy: "Expect that changing a part of a large file uploads it whole"))
    }
  }
}
