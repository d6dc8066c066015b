import Basics
import HTTPTransport
public import Metrics
public import ObjectStore
import Synchronization

/// The operations of S3's API that are used here, under their names there.
public enum RequestKind: String, Hashable, Sendable, CaseIterable {
  case getObject = "GetObject"
  case headObject = "HeadObject"
  case putObject = "PutObject"
  case copyObject = "CopyObject"
  case deleteObject = "DeleteObject"
  case deleteObjects = "DeleteObjects"
  case listObjects = "ListObjectsV2"
  case createUpload = "CreateMultipartUpload"
  case uploadPart = "UploadPart"
  case copyPart = "UploadPartCopy"
  case completeUpload = "CompleteMultipartUpload"
  case abortUpload = "AbortMultipartUpload"
  case listParts = "ListParts"
  case listUploads = "ListMultipartUploads"
  case headBucket = "HeadBucket"
  case createBucket = "CreateBucket"
  case deleteBucket = "DeleteBucket"
  case listBuckets = "ListBuckets"
}

/// What requests of one kind came to since the start.
public struct RequestCounts: Hashable, Sendable {
  /// Attempts that ended: each try is one. Not those that were given up before any byte had left.
  public var requests: UInt64
  /// Those of them that repeated one that had failed.
  public var retries: UInt64
  /// Those that failed, by what the failure was; "not found" is one.
  public var errors: [ObjectStoreError.Code: UInt64]
  /// Bytes of bodies that were sent with requests that got an answer.
  public var sent: UInt64
  /// Bytes of bodies that were received.
  public var received: UInt64
  /// From handing a request to the transport, where it may wait for a connection, to the head of the answer.
  public var firstByte: LatencyHistogram
  /// The same to the end of the answer, or the failure.
  public var whole: LatencyHistogram
}

/// Counts the requests about one bucket. Nothing is locked. Thread-safe.
public final class RequestMetrics: Sendable {
  private let slots = Dictionary(uniqueKeysWithValues: RequestKind.allCases.map { ($0, Slot()) })

  /// Nothing was sent.
  public init() {}

  /// Made when the first request of its kind is: most mounts use half of them.
  private final class Slot: Sendable {
    let counters = AtomicLazyReference<RequestCounters>()
  }

  func counters(_ kind: RequestKind) -> RequestCounters? {
    guard let slot = slots[kind] else { return nil }
    return slot.counters.load() ?? slot.counters.storeIfNil(RequestCounters())
  }

  /// What was counted until now, for the kinds of which there was a request.
  public var counts: [RequestKind: RequestCounts] {
    slots.compactMapValues { $0.counters.load()?.counts }
  }

  /// Bytes of bodies that were received and sent, of all kinds.
  public var bytes: (received: UInt64, sent: UInt64) {
    slots.values.reduce(into: (0, 0)) { sum, slot in
      guard let counters = slot.counters.load() else { return }
      sum.received += counters[.received]
      sum.sent += counters[.sent]
    }
  }
}

/// The counters of one kind of request. Thread-safe.
final class RequestCounters: Sendable {
  enum Field: Int, CaseIterable {
    case requests, retries, sent, received
  }

  private static let codes = ObjectStoreError.Code.allCases
  private static let codePositions = Dictionary(
    uniqueKeysWithValues: codes.enumerated().map { ($1, $0 + Field.allCases.count) })

  private let counters = CounterBlock(count: Field.allCases.count + codes.count)
  let firstByte = LatencyRecorder()
  let whole = LatencyRecorder()

  subscript(field: Field) -> UInt64 { counters[field.rawValue] }

  func add(_ amount: Int = 1, to field: Field) { counters.add(UInt64(max(0, amount)), to: field.rawValue) }

  func note(_ code: ObjectStoreError.Code) {
    if let position = Self.codePositions[code] { counters.add(to: position) }
  }

  var counts: RequestCounts {
    let errors = Self.codePositions.compactMapValues { counters[$0] > 0 ? counters[$0] : nil }
    return RequestCounts(
      requests: self[.requests], retries: self[.retries], errors: errors, sent: self[.sent],
      received: self[.received], firstByte: firstByte.histogram, whole: whole.histogram)
  }
}

/// Measures one attempt of a request.
struct AttemptMeter: Sendable {
  private let counters: RequestCounters
  private let time: TimeSource
  private let start: UInt64
  private let bodyLength: UInt64

  init(_ counters: RequestCounters, _ time: TimeSource, _ request: S3Request, isRepeated: Bool) {
    self.counters = counters
    self.time = time
    start = time.monotonic
    bodyLength = request.body.length
    if isRepeated { counters.add(to: .retries) }
  }

  /// The head of the answer is here. What comes behind it is counted while it comes.
  func began(_ destination: HTTPBodyDestination) -> HTTPBodyDestination {
    counters.firstByte.record(time.monotonic - start)
    guard case .deliver(let receive) = destination else { return destination }
    return .deliver { [counters] bytes in
      counters.add(bytes.count, to: .received)
      return receive(bytes)
    }
  }

  /// The attempt is over.
  /// - Parameter code: of its failure; nil for a success.
  func ended(_ result: Result<HTTPResponse, HTTPError>, _ code: ObjectStoreError.Code?) {
    switch result {
    case .success(let response):
      counters.add(Int(clamping: bodyLength), to: .sent)
      counters.add(response.body.count, to: .received)
    case .failure(let error):
      // Nobody has seen it.
      if error.neverSent, [.cancelled, .shutDown].contains(error.code) { return }
    }
    counters.add(to: .requests)
    counters.whole.record(time.monotonic - start)
    if let code { counters.note(code) }
  }
}
