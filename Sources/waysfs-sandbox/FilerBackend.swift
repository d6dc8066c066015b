import Foundation

/// Buckets through the HTTP interface of SeaweedFS's filer: there a bucket is a directory below /buckets, and needs
/// no signature.
struct FilerBackend: BucketBackend {
  let filer: LoopbackHTTP

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  func buckets() async throws -> [StoredBucket] {
    var found: [StoredBucket] = []
    try forEachEntry(in: "/buckets") { entry in
      guard entry.isDirectory, !entry.name.hasPrefix(".") else { return }
      let created = try? Date(entry.Crtime ?? "", strategy: .iso8601)
      found.append(StoredBucket(name: entry.name, created: created ?? Date(timeIntervalSince1970: 0)))
    }
    return found
  }

  func usage(of bucket: String) async throws -> BucketUsage? {
    let root = "/buckets/\(bucket)"
    guard try filer.send("GET", root + "/?limit=1").status == 200 else { return nil }
    var usage = BucketUsage()
    var pending = [root]
    while let directory = pending.popLast() {
      try forEachEntry(in: directory) { entry in
        // Unfinished multipart uploads are no objects.
        guard entry.FullPath != root + "/.uploads" else { return }
        if entry.isDirectory { pending.append(entry.FullPath) }
        guard entry.isObject else { return }
        usage.objects += 1
        usage.bytes += entry.FileSize ?? 0
      }
    }
    return usage
  }

  func create(_ bucket: String) async throws {
    try expectSuccess("POST", "/buckets/\(bucket)/")
  }

  func remove(_ bucket: String) async throws {
    // Recursive, because the server keeps directories whose last object is gone.
    try expectSuccess("DELETE", "/buckets/\(bucket)?recursive=true")
  }

  /// Writes and removes a file: succeeds once filer, master and volume server work together.
  func checkThatItStores() throws {
    try expectSuccess("PUT", "/sandbox-check", body: Data(repeating: 0x61, count: 4096))
    try expectSuccess("DELETE", "/sandbox-check")
  }

  private func forEachEntry(in directory: String, _ body: (FilerListing.Entry) -> Void) throws {
    var last = ""
    while true {
      let query = "?limit=1000&lastFileName=\(Self.percentEncoded(last))"
      let answer = try filer.send("GET", Self.percentEncoded(directory) + "/" + query)
      // A directory may go while its parent is being listed.
      if answer.status == 404 { return }
      guard answer.status == 200 else { throw Failure(description: "the filer answered \(answer.status) to a listing") }
      let listing = try JSONDecoder().decode(FilerListing.self, from: answer.body)
      for entry in listing.Entries ?? [] { body(entry) }
      guard listing.ShouldDisplayLoadMore == true, let next = listing.LastFileName, next != last else { return }
      last = next
    }
  }

  private func expectSuccess(_ method: String, _ target: String, body: Data = Data()) throws {
    let answer = try filer.send(method, target, body: body)
    guard (200..<300).contains(answer.status) else {
      let text = String(decoding: answer.body.prefix(300), as: UTF8.self)
      throw Failure(description: "the filer answered \(answer.status) to \(method) \(target): \(text)")
    }
  }

  static func percentEncoded(_ path: String) -> String {
    var result = ""
    for byte in path.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"), UInt8(ascii: "~"):
        result.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        result += "%" + String(byte >> 4, radix: 16, uppercase: true) + String(byte & 15, radix: 16, uppercase: true)
      }
    }
    return result
  }
}

/// A listing as the filer writes it; the names of the properties are its own.
struct FilerListing: Decodable {
  struct Entry: Decodable {
    var FullPath: String
    var Crtime: String?
    var Mode: UInt32
    var Mime: String?
    var FileSize: UInt64?

    var name: String { FullPath.split(separator: "/").last.map(String.init) ?? "" }

    /// Go's os.ModeDir.
    var isDirectory: Bool { Mode & 0x8000_0000 != 0 }

    /// A directory has a type only when a client has put an object "name/".
    var isObject: Bool { !isDirectory || Mime?.isEmpty == false }
  }

  var Entries: [Entry]?
  var LastFileName: String?
  var ShouldDisplayLoadMore: Bool?
}
