import Basics
import Synchronization

/// Answers the requests of all connections. Thread-safe.
///
/// Who leaves out what costs the server time would look faster than it is, and the other way round, for the server has
/// the same processors here. Two things matter. Signatures and checksums are checked for nobody. The tag of an object is
/// the MD5 of its bytes, which some clients compare: it is taken from `Content-MD5` where a client has sent that, and
/// computed otherwise, so that the MD5 of each byte is paid for once on this machine, by one side or the other. With
/// `opaqueTags` it is not computed, and a client without `Content-MD5` gets a tag that is no MD5.
final class Service: Sendable {
  let store: Store
  let pool: SlabPool
  let shaper: Shaper
  let counters = Counters()
  let opaqueTags = Atomic<Bool>(false)
  private let nextTag = Atomic<Int>(1)

  init(store: Store = Store(), pool: SlabPool, shaper: Shaper = Shaper()) {
    self.store = store
    self.pool = pool
    self.shaper = shaper
  }

  /// What was received with a request.
  struct Received: Sendable {
    var head: RequestHead
    var body: Body
    /// The tag that an object or part made of the body has.
    var etag: String
  }

  /// Answers requests until the client has enough.
  /// - Parameter isShaped: whether delay and bandwidth apply. Who prepares or watches a measurement goes without.
  func serve(_ connection: Connection, isShaped: Bool) {
    let shaper = isShaped ? shaper : nil
    do throws(ConnectionError) {
      var goesOn = true
      while goesOn, let text = try connection.readHead() {
        goesOn = try exchange(text, connection, shaper)
      }
    } catch {
      // The client is gone, or sends what is not HTTP: there is nobody to tell.
    }
  }

  /// One request and its answer; false when the connection is to be closed.
  private func exchange(_ text: [UInt8], _ connection: Connection, _ shaper: Shaper?) throws(ConnectionError) -> Bool {
    let head: RequestHead
    do throws(Refusal) { head = try RequestHead(text) } catch {
      // Where its body ends is not known either.
      try send(Answer(error, isHead: false), connection, shaper, keepsAlive: false)
      return false
    }
    var answer: Answer
    var keepsAlive = head.keepsAlive
    do throws(BodyReceiver.Failure) {
      let (operation, received) = try receive(head, connection, shaper)
      shaper?.pause()
      answer = self.answer(operation, received)
      // What is asked for past the delay is no part of what is measured.
      if shaper != nil { counters.count(operation, received: received.body.count, sent: answer.bodyLength) }
    } catch {
      switch error {
      case .connection(let error): throw error
      case .refused(let refusal, let isWhole):
        answer = Answer(refusal, isHead: head.method == .head)
        keepsAlive = keepsAlive && isWhole
      }
    }
    try send(answer, connection, shaper, keepsAlive: keepsAlive)
    return keepsAlive
  }

  private func receive(
    _ head: RequestHead, _ connection: Connection, _ shaper: Shaper?
  ) throws(BodyReceiver.Failure) -> (Operation, Received) {
    let framing: BodyFraming
    do throws(Refusal) { framing = try BodyFraming(head) } catch { throw .refused(error, isWhole: false) }
    if head["expect"]?.lowercased() == "100-continue", framing != .none {
      // A round trip like any other: the client does not send the body before it.
      shaper?.pause()
      do throws(ConnectionError) { try connection.write(Self.interim) } catch { throw .connection(error) }
    }
    let operation: Result<Operation, Refusal>
    do throws(Refusal) { operation = .success(try Operation(head)) } catch { operation = .failure(error) }
    let given = head["content-md5"].flatMap(Base64.bytes).map { Hexadecimal.text($0) }
    let isOpaque = opaqueTags.load(ordering: .relaxed)
    let storesBody = (try? operation.get())?.storesBody == true
    let receiver = BodyReceiver(pool, shaper, isHashed: storesBody && given == nil && !isOpaque)
    let (body, computed) = try receiver.receive(framing, from: connection)
    switch operation {
    case .failure(let refusal): throw .refused(refusal, isWhole: true)
    case .success(let operation):
      let tag = storesBody && given == nil && isOpaque ? opaqueTag() : computed
      return (operation, Received(head: head, body: body, etag: given ?? tag))
    }
  }

  private static let interim = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)

  /// A tag that nobody takes for an MD5.
  private func opaqueTag() -> String {
    "opaque-" + String(nextTag.add(1, ordering: .relaxed).newValue, radix: 16)
  }

  private func answer(_ operation: Operation, _ received: Received) -> Answer {
    do throws(Refusal) { return try perform(operation, received) } catch {
      return Answer(error, isHead: received.head.method == .head)
    }
  }

  private func perform(_ operation: Operation, _ received: Received) throws(Refusal) -> Answer {
    let head = received.head
    switch operation {
    case .control: return try control(head)
    case .listBuckets: return listBuckets()
    case .createBucket: return createBucket(head)
    case .headBucket: return try headBucket(head)
    case .deleteBucket: return try deleteBucket(head)
    case .bucketLocation: return try bucketDocument(head, root: "LocationConstraint")
    case .bucketVersioning: return try bucketDocument(head, root: "VersioningConfiguration")
    case .listObjects: return try listObjects(head)
    case .listObjectsV2: return try listObjectsV2(head)
    case .listUploads: return try listUploads(head)
    case .deleteObjects: return try deleteObjects(received)
    case .getObject, .headObject: return try getObject(head)
    case .putObject: return try putObject(received)
    case .copyObject: return try copyObject(head)
    case .deleteObject: return try deleteObject(head)
    case .createUpload: return try createUpload(head)
    case .uploadPart: return try uploadPart(received)
    case .copyPart: return try copyPart(head)
    case .listParts: return try listParts(head)
    case .completeUpload: return try completeUpload(received)
    case .abortUpload: return try abortUpload(head)
    }
  }

  private func send(
    _ answer: Answer, _ connection: Connection, _ shaper: Shaper?, keepsAlive: Bool
  ) throws(ConnectionError) {
    let head = answer.head(keepsAlive: keepsAlive, now: store.now)
    switch answer.content {
    case .none, .headOnly: try connection.write(head)
    case .bytes(let bytes):
      try connection.write(head + bytes)
      shaper?.wait(.outbound, bytes: bytes.count)
    case .object(let body, let range): try send(head, body, range, connection, shaper)
    }
  }

  private func send(
    _ head: [UInt8], _ body: Body, _ range: Range<Int>, _ connection: Connection, _ shaper: Shaper?
  ) throws(ConnectionError) {
    // Keeps the memory from being used again when the object is replaced meanwhile.
    defer { withExtendedLifetime(body) {} }
    guard let shaper, let piece = shaper.piece else {
      return try connection.write(head, followedBy: body.regions(in: range))
    }
    try connection.write(head)
    var begin = range.lowerBound
    while begin < range.upperBound {
      let end = min(range.upperBound, begin + piece)
      try connection.write([], followedBy: body.regions(in: begin..<end))
      shaper.wait(.outbound, bytes: end - begin)
      begin = end
    }
  }
}

extension Answer {
  var bodyLength: Int {
    switch content {
    case .none, .headOnly: 0
    case .bytes(let bytes): bytes.count
    case .object(_, let range): range.count
    }
  }
}

/// How often each operation was asked for, and how many bytes went with it. Thread-safe.
final class Counters: Sendable {
  struct Count: Equatable, Sendable {
    var requests = 0
    var received = 0
    var sent = 0
  }

  private let counts = Mutex<[Operation: Count]>([:])

  func count(_ operation: Operation, received: Int, sent: Int) {
    counts.withLock { counts in
      counts[operation, default: Count()].requests += 1
      counts[operation, default: Count()].received += received
      counts[operation, default: Count()].sent += sent
    }
  }

  /// Since the start.
  var all: [Operation: Count] { counts.withLock { $0 } }
}
