import Basics
import HTTPTransport
import ObjectStore
import Synchronization

/// The body of a PUT or a part on its way: its sum, which goes along as `Content-MD5`, and what the tags the server
/// answers with say about the bytes it has stored
/// (docs/decisions/0005-tags-are-compared-until-they-prove-to-be-no-sums.md).
///
/// Thread-safe. The lock is taken alone; nothing is called while it is held.
final class SentBody: Sendable {
  /// MD5 of the bytes; empty when OpenSSL does not compute it (FIPS). Then they are signed with their SHA-256.
  let sum: [UInt8]
  private let body: HTTPBody
  private let payloadHash: String
  private let core: ClientCore
  /// Counted among those whose sums were computed several at a time, until this is gone.
  private let isCounted: Bool
  private let wrongTag = Mutex<ETag?>(nil)

  /// Hashes the body; blocks the calling thread until that is done, for a large one perhaps together with others.
  convenience init(_ body: ObjectBody, _ core: ClientCore) throws(ObjectStoreError) {
    if case .file(let file, let offset, let length) = body, length >= BodySums.smallest, BodySums.isAvailable {
      let sum = try core.sums.sum(of: file, offset: offset, length: length)
      self.init(body.httpBody, sum: sum, payloadHash: S3Request.unsignedPayload, core, isCounted: true)
    } else {
      let sum = try Digest.of(body, .md5)
      let hash = sum.isEmpty ? hexadecimal(try Digest.of(body, .sha256)) : S3Request.unsignedPayload
      self.init(body.httpBody, sum: sum, payloadHash: hash, core)
    }
  }

  /// A body whose sums are known.
  init(_ body: HTTPBody, sum: [UInt8], payloadHash: String, _ core: ClientCore, isCounted: Bool = false) {
    self.body = body
    self.sum = sum
    self.payloadHash = payloadHash
    self.core = core
    self.isCounted = isCounted
  }

  deinit {
    if isCounted { core.sums.bodyEnded() }
  }

  /// The tag of an answer that was not of these bytes, when there was one.
  var mismatch: ETag? { wrongTag.withLock { $0 } }

  /// Makes this the body of a request. One hash is enough: `Content-MD5` is signed, and so protects the bytes whether
  /// or not the connection does.
  func add(to request: inout S3Request) {
    request.body = body
    request.payloadHash = payloadHash
    if !sum.isEmpty { request.headers.append(HTTPHeader("Content-MD5", base64(sum))) }
  }

  /// What a complete answer comes to: the first tag that is not of these bytes asks for another attempt, the second is
  /// a failure.
  func outcome<Value>(_ response: HTTPResponse, _ value: (ETag) -> Value) -> Outcome<Value> {
    guard let tag = MetadataParser.etag(response.head) else { return .failed(response.corrupt("The tag is missing.")) }
    guard !MetadataParser.isEncryptedTag(response.head), tag.isOf(sum: sum) == false, !core.tagsAreOpaque else {
      return .value(value(tag))
    }
    let isFirst = wrongTag.withLock { wrongTag in
      defer { wrongTag = tag }
      return wrongTag == nil
    }
    let error = response.corrupt("The tag \(tag.plain) is not of the bytes that were sent.")
    return isFirst ? .incomplete(error) : .failed(error)
  }
}

extension ETag {
  /// The bytes of a tag that has the form of an MD5; nil for any other.
  var sum: [UInt8]? { value.utf8.count == 32 ? bytes(hexadecimal: value) : nil }

  /// Whether this is the MD5 `sum`; nil when it has not the form of one, or the sum is not known.
  func isOf(sum known: [UInt8]) -> Bool? {
    known.isEmpty ? nil : sum.map { $0 == known }
  }

  /// For a message.
  fileprivate var plain: String { S3.plain(value, limit: 64) }
}

/// Computes the MD5 of what is read, in one go and in order, as downloads promise. Thread-safe.
final class SummingSink: ObjectSink {
  private let digest = Mutex<Digest?>(Digest(.md5))

  /// Nothing to prepare.
  func begin(metadata: ObjectMetadata, range: ByteRange) {}

  /// Adds to the sum.
  func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    digest.withLock { $0?.update(bytes) }
  }

  /// The sum of all that was read; empty when it was asked for before.
  func finish() -> [UInt8] {
    digest.withLock { digest in
      guard let whole = digest.take() else { return [] }
      return whole.finish()
    }
  }
}
