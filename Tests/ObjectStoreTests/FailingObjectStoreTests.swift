import Basics
import ObjectStore
import Synchronization
import Testing

/// Collects what an asynchronous operation reports.
private final class Reports<Value: Sendable>: Sendable {
  private let results = Mutex<[Result<Value, ObjectStoreError>]>([])
  var all: [Result<Value, ObjectStoreError>] { results.withLock { $0 } }
  var codes: [ObjectStoreError.Code?] {
    all.map { result in
      if case .failure(let error) = result { error.code } else { nil }
    }
  }
  func add(_ result: Result<Value, ObjectStoreError>) { results.withLock { $0.append(result) } }
}

private func code<Value>(_ work: () throws(ObjectStoreError) -> Value) -> ObjectStoreError.Code? {
  do throws(ObjectStoreError) {
    _ = try work()
    return nil
  } catch {
    return error.code
  }
}

@Suite struct FailingObjectStoreTests {
  let memory = InMemoryObjectStore()
  let key = ObjectKey("key")

  @Test func operationsAreRecordedInOrder() throws {
    let store = FailingObjectStore(wrapping: memory)
    try store.put(PutRequest(key, body: .bytes([1, 2, 3])))
    _ = try store.get(GetRequest(key, range: ByteRange(offset: 1, length: 1)))
    _ = try store.list(ListRequest(prefix: "k", delimited: true))
    try store.copy(CopyRequest(from: key, to: ObjectKey("other")))
    _ = try store.head(key)
    _ = try store.head(key)
    #expect(store.operations.map(\.kind) == [.put, .get, .list, .copy, .head, .head])
    #expect(store.operations[1].range == ByteRange(offset: 1, length: 1))
    #expect(store.operations[2].prefix == "k")
    #expect(store.operations[3].source == key)
    #expect(store.operations[5].ordinal == 2)
    #expect(store.count(.head) == 2)
    store.forgetOperations()
    #expect(store.operations.isEmpty && store.count(.head) == 0)
  }

  @Test func aFailureChangesNothing() {
    let store = FailingObjectStore(wrapping: memory) { $0.kind == .put ? .fail(.serverError) : nil }
    #expect(code { () throws(ObjectStoreError) in try store.put(PutRequest(key, body: .bytes([1]))) } == .serverError)
    #expect(memory.keys.isEmpty)
  }

  @Test func aLostAnswerWasApplied() {
    let store = FailingObjectStore(wrapping: memory) { $0.ordinal == 1 ? .loseAnswer(.connectionFailed) : nil }
    #expect(
      code { () throws(ObjectStoreError) in try store.put(PutRequest(key, body: .bytes([1]))) } == .connectionFailed)
    #expect(memory.bytes(of: key) == [1])
  }

  @Test func aTruncatedGetDeliversTheFirstBytes() throws {
    try memory.put(PutRequest(key, body: .bytes([UInt8](0..<100))))
    let store = FailingObjectStore(wrapping: memory) { _ in .truncate(after: 30, .connectionFailed) }
    let sink = MemorySink()
    let failed = code { () throws(ObjectStoreError) in
      try waitFor { store.get(GetRequest(key, range: ByteRange(offset: 10, length: 50)), into: sink, nil, $0) }
    }
    #expect(failed == .connectionFailed)
    #expect(sink.bytes == [UInt8](10..<40))
    let missing = code { () throws(ObjectStoreError) in try store.get(GetRequest(ObjectKey("missing"))) }
    #expect(missing == .notFound)
  }

  @Test func aHeldOperationIsDoneWhenTheGateOpens() {
    let gate = Gate()
    let store = FailingObjectStore(wrapping: memory) { _ in .hold(gate) }
    let reports = Reports<PutResult>()
    store.put(PutRequest(key, body: .bytes([1])), nil) { reports.add($0) }
    gate.waitForArrival()
    #expect(reports.all.isEmpty && memory.keys.isEmpty)
    #expect(gate.waitingCount == 1)
    gate.open()
    #expect(reports.codes == [nil])
    #expect(memory.keys == [key])
    // An open gate stays open.
    store.put(PutRequest(key, body: .bytes([2])), nil) { reports.add($0) }
    #expect(reports.codes == [nil, nil])
  }

  @Test func aHeldAnswerIsAppliedAtOnce() {
    let gate = Gate()
    let store = FailingObjectStore(wrapping: memory) { _ in .holdAnswer(gate) }
    let reports = Reports<PutResult>()
    store.put(PutRequest(key, body: .bytes([1])), nil) { reports.add($0) }
    #expect(reports.all.isEmpty)
    #expect(memory.keys == [key])
    gate.open()
    #expect(reports.codes == [nil])
  }

  @Test func cancellationReleasesWhatIsHeld() {
    let gate = Gate()
    let store = FailingObjectStore(wrapping: memory) { _ in .hold(gate) }
    let reports = Reports<PutResult>()
    let cancellation = Cancellation()
    store.put(PutRequest(key, body: .bytes([1])), cancellation) { reports.add($0) }
    cancellation.cancel()
    #expect(reports.codes == [.cancelled])
    gate.open()
    #expect(reports.codes == [.cancelled])
    #expect(memory.keys.isEmpty)
  }

  @Test func aHeldOperationCanFail() {
    let gate = Gate()
    let store = FailingObjectStore(wrapping: memory) { _ in .holdThenFail(gate, .timedOut) }
    let reports = Reports<Void>()
    store.delete(key, nil) { reports.add($0) }
    gate.open()
    #expect(reports.codes == [.timedOut])
  }
}

@Suite struct InMemoryObjectStoreTests {
  @Test func answersCanBeDeliveredLater() {
    let queue = Mutex<[@Sendable () -> Void]>([])
    let store = InMemoryObjectStore(
      options: .init(executor: { work in queue.withLock { $0.append(work) } }))
    let reports = Reports<PutResult>()
    store.put(PutRequest(ObjectKey("a"), body: .bytes([1])), nil) { reports.add($0) }
    #expect(reports.all.isEmpty)
    let cancellation = Cancellation()
    let heads = Reports<ObjectMetadata>()
    store.head(ObjectKey("a"), cancellation) { heads.add($0) }
    cancellation.cancel()
    let work = queue.withLock { $0 }
    for item in work { item() }
    #expect(reports.codes == [nil])
    #expect(heads.codes == [.cancelled])
  }

  @Test func bytesComeInPieces() throws {
    final class Pieces: ObjectSink {
      let pieces = Mutex<[(UInt64, Int)]>([])
      func begin(metadata: ObjectMetadata, range: ByteRange) {}
      func receive(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        pieces.withLock { $0.append((offset, bytes.count)) }
      }
    }
    let store = InMemoryObjectStore(options: .init(pieceSize: 40))
    try store.put(PutRequest(ObjectKey("a"), body: .bytes([UInt8](repeating: 1, count: 100))))
    let sink = Pieces()
    _ = try waitFor {
      store.get(GetRequest(ObjectKey("a"), range: ByteRange(offset: 5, length: 90)), into: sink, nil, $0)
    }
    #expect(sink.pieces.withLock { $0.map(\.0) } == [5, 45, 85])
    #expect(sink.pieces.withLock { $0.map(\.1) } == [40, 40, 10])
  }

  @Test func datesAreTheClocksInWholeSeconds() throws {
    let clock = ManualClock(seconds: 5000)
    let store = InMemoryObjectStore(time: clock.timeSource)
    clock.advance(seconds: 1.75)
    try store.put(PutRequest(ObjectKey("a"), body: .bytes([1])))
    #expect(try store.head(ObjectKey("a")).lastModified == Timestamp(seconds: 5001))
  }

  @Test func equalBytesHaveEqualTagsAndOthersDoNot() throws {
    let store = InMemoryObjectStore()
    var tags: Set<ETag> = []
    for count in 0..<200 {
      let first = try store.put(PutRequest(ObjectKey("a"), body: .bytes([UInt8](repeating: 0, count: count))))
      let second = try store.put(PutRequest(ObjectKey("b"), body: .bytes([UInt8](repeating: 0, count: count))))
      #expect(first.etag == second.etag)
      #expect(first.etag.value.utf8.count == 32)
      tags.insert(first.etag)
    }
    #expect(tags.count == 200)
  }

  @Test func theSmallestPartAndConditionsCanBeSwitchedOff() throws {
    let store = InMemoryObjectStore(options: .init(minimumPartSize: 1, honoursConditions: false))
    let upload = try store.createUpload(ObjectKey("a"), attributes: ObjectAttributes())
    let parts = try (1...3).map { try store.uploadPart(upload, number: $0, body: .bytes([UInt8($0)])) }
    #expect(store.uploadCount == 1)
    let result = try store.completeUpload(upload, parts: parts)
    #expect(result.etag.value.hasSuffix("-3"))
    #expect(store.bytes(of: ObjectKey("a")) == [1, 2, 3])
    #expect(store.uploadCount == 0)
    #expect(throws: Never.self) {
      try store.put(PutRequest(ObjectKey("a"), body: .bytes([]), condition: .ifAbsent))
    }
  }

  @Test func anObjectIsNotCopiedOntoItselfUnchanged() throws {
    let store = InMemoryObjectStore()
    try store.put(PutRequest(ObjectKey("a"), body: .bytes([1])))
    #expect(
      code { () throws(ObjectStoreError) in try store.copy(CopyRequest(from: ObjectKey("a"), to: ObjectKey("a"))) }
        == .invalidRequest)
  }

  @Test func rangesNearTheLargestNumberDoNotOverflow() {
    #expect(ByteRange(offset: .max, length: .max).end == .max)
    #expect(ByteRange(offset: 5, length: .max).clipped(to: 10) == ByteRange(offset: 5, length: 5))
    #expect(ByteRange(offset: 10, length: 1).clipped(to: 10) == nil)
    #expect(ByteRange(offset: 0, length: 0).clipped(to: 10) == nil)
  }
}
