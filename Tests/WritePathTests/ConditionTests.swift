import Basics
import ObjectStore
import Synchronization
import Testing

@testable import WritePath

@Suite struct ConditionalWritesTests {
  private func probes(_ bench: Workbench) -> [FailingObjectStore.Operation] {
    bench.store.operations.filter { $0.key?.string.contains("waysfs-probe") ?? false }
  }

  @Test func aServerThatEnforcesIsAskedOnceAndGetsNoHEAD() throws {
    let bench = try Workbench()
    for _ in 0..<3 { try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil) }
    #expect(probes(bench).map(\.kind) == [.put, .put, .put, .delete])
    #expect(bench.store.count(.head) == 0)
    #expect(bench.memory.keys.isEmpty)
    // Servers that mind conditions on PUT may ignore them here.
    _ = try bench.object([1])
    #expect(
      storeCode { try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: true, nil) } == .preconditionFailed)
    #expect(bench.store.count(.head) == 1)
  }

  private func prepareCompletion(_ bench: Workbench) {
    bench.conditions.prepareCompletion(on: bench.workers.share())
    bench.conditions.prepareCompletion(on: bench.workers.share())
    // Waits for it.
    bench.workers.shutdown()
  }

  @Test func aServerThatMindsConditionsOfCompletionsIsNotAsked() throws {
    let bench = try Workbench()
    prepareCompletion(bench)
    try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: true, nil)
    #expect(bench.store.count(.head) == 0)
    #expect(bench.store.count(.completeUpload) == 2)
    #expect(bench.memory.keys.isEmpty && bench.memory.uploadCount == 0)
    #expect(bench.journal.names("files").isEmpty)
  }

  /// Whatever goes wrong, the HEAD is sent as before and nothing stays behind.
  @Test(arguments: [
    FailingObjectStore.Kind.createUpload, .uploadPart, .completeUpload, .abortUpload,
  ]) func aProbeOfCompletionsThatFailsChangesNothing(kind: FailingObjectStore.Kind) throws {
    let bench = try Workbench()
    bench.store.setRule { $0.kind == kind ? .fail(.timedOut) : nil }
    prepareCompletion(bench)
    bench.store.setRule { _ in nil }
    try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: true, nil)
    #expect(bench.store.count(.head) == (kind == .abortUpload ? 0 : 1))
    let left = kind == .abortUpload ? 1 : 0
    #expect(bench.journal.names("files").count == left, "noted for the next mount")
    #expect(bench.memory.uploadCount == left)
  }

  /// A server that minds them on PUT only.
  @Test func aServerThatIgnoresConditionsOfCompletionsIsAsked() throws {
    let bench = try Workbench(options: .init(honoursConditionsOfCompletions: false))
    _ = try bench.object([1])
    prepareCompletion(bench)
    #expect(
      storeCode { try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: true, nil) } == .preconditionFailed)
    #expect(bench.store.count(.head) == 1)
    #expect(bench.memory.keys == [bench.key] && bench.memory.uploadCount == 0)
    #expect(bench.journal.names("files").isEmpty)
  }

  @Test func aServerThatIgnoresGetsAHEADBeforeEachWrite() throws {
    let bench = try Workbench(options: .init(honoursConditions: false))
    let base = try bench.object([1])
    let check = { (condition: WriteCondition) in
      storeCode { try bench.conditions.admit(bench.key, condition, completesUpload: false, nil) }
    }
    #expect(check(.ifMatch(base.etag)) == nil)
    #expect(check(.ifAbsent) == .preconditionFailed)
    #expect(check(.ifMatch(ETag("other"))) == .preconditionFailed)
    #expect(check(.none) == nil)
    try bench.memory.delete(bench.key)
    #expect(check(.ifMatch(base.etag)) == .preconditionFailed)
    #expect(check(.ifAbsent) == nil)
    #expect(bench.store.count(.head) == 5)
    #expect(probes(bench).count == 3)
    #expect(bench.memory.keys.isEmpty)
    let file = try bench.staged()
    _ = try bench.object([1, 2])
    #expect(storeCode { _ = try bench.upload(file, .ifAbsent) } == .preconditionFailed)
    #expect(bench.stored == [1, 2])
  }

  @Test func anUnconditionalWriteAsksNobody() throws {
    let bench = try Workbench()
    try bench.conditions.admit(bench.key, .none, completesUpload: true, nil)
    #expect(bench.store.operations.isEmpty)
  }

  @Test(arguments: [ObjectStoreError.Code.unsupported, .invalidRequest])
  func aServerThatRefusesTheHeaderIsChecked(code: ObjectStoreError.Code) throws {
    let bench = try Workbench()
    bench.store.setRule { $0.kind == .put ? .fail(code) : nil }
    try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil)
    #expect(bench.store.count(.head) == 1)
  }

  /// Whichever step fails, with or without effect, the scratch object is gone and the next write probes again.
  @Test(arguments: [1, 2, 3], [false, true]) func aProbeThatFailsLeavesNothing(step: Int, isApplied: Bool) throws {
    let bench = try Workbench()
    bench.store.setRule { operation in
      guard operation.kind == .put, operation.ordinal == step else { return nil }
      return isApplied ? .loseAnswer(.timedOut) : .fail(.timedOut)
    }
    let admit = { storeCode { try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil) } }
    #expect(admit() == .timedOut)
    #expect(bench.memory.keys.isEmpty)
    #expect(admit() == nil)
    #expect(bench.memory.keys.isEmpty)
    #expect(bench.store.count(.head) == 0)
  }

  /// What goes wrong with the scratch key must not look like a conflict of the key that is written.
  @Test(arguments: [ObjectStoreError.Code.conflict, .noSuchUpload, .notFound])
  func aProbeThatFailsIsNoConflictOfTheFile(code: ObjectStoreError.Code) throws {
    let bench = try Workbench()
    bench.store.setRule { $0.kind == .put ? .fail(code) : nil }
    #expect(
      storeCode { try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil) } == .serverError)
  }

  @Test func somebodysObjectUnderTheScratchNameStays() throws {
    let bench = try Workbench()
    let taken = ObjectKey(".waysfs-probe-7")
    _ = try bench.memory.put(PutRequest(taken, body: .bytes([5])))
    #expect(
      storeCode { try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil) } == .serverError)
    #expect(bench.memory.bytes(of: taken) == [5])
    let numbers = Mutex<[UInt64]>([7, 8])
    let conditions = ConditionalWrites(
      store: bench.store, journal: bench.journal, scratchPrefix: "", random: { numbers.withLock { $0.removeFirst() } },
      log: bench.log)
    try conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil)
    #expect(bench.memory.keys == [taken])
  }

  @Test func manyWritersProbeOnce() throws {
    let bench = try Workbench()
    let writers = (0..<6).compactMap { _ in
      Thread.start(name: "writer") {
        #expect(throws: Never.self) {
          try bench.conditions.admit(bench.key, .ifAbsent, completesUpload: false, nil)
        }
      }
    }
    for writer in writers { writer.join() }
    #expect(probes(bench).count == 4)
  }
}

@Suite struct ConflictNameTests {
  private func name(_ key: String, _ seconds: Int64 = 0, host: String = "host", attempt: Int = 1) -> String {
    ConflictName.key(for: ObjectKey(key), host: host, at: Timestamp(seconds: seconds), attempt: attempt).string
  }

  @Test(
    arguments: [
      (0, "1970-01-01 00.00.00"), (-1, "1969-12-31 23.59.59"), (951_782_399, "2000-02-28 23.59.59"),
      (951_782_400, "2000-02-29 00.00.00"), (951_868_800, "2000-03-01 00.00.00"),
      (4_107_542_400, "2100-03-01 00.00.00"),
      (4_107_542_399, "2100-02-28 23.59.59"), (1_709_164_800, "2024-02-29 00.00.00"),
      (-2_203_891_201, "1900-02-28 23.59.59"), (-2_203_891_200, "1900-03-01 00.00.00"),
      (1_795_366_177, "2026-11-22 16.49.37"),
    ] as [(Int64, String)])
  func dates(seconds: Int64, date: String) {
    #expect(name("a/b.txt", seconds) == "a/b.txt (conflict host \(date))")
  }

  @Test func extremeTimesDoNotTrap() {
    #expect(name("a", .max).hasPrefix("a (conflict host 2"))
    #expect(name("a", .min).hasPrefix("a (conflict host -2"))
  }

  @Test func hostsAndAttempts() {
    #expect(name("x", host: "").contains("(conflict unknown "))
    #expect(name("x", host: "a/b").contains("(conflict a "))
    #expect(name("x", host: "é").contains("(conflict unknown "))
    #expect(name("x", attempt: 2).hasSuffix(" 2)"))
    #expect(name("x", attempt: 1) != name("x", attempt: 2))
  }

  @Test(arguments: ["x", "é", "e\u{301}", "日", "👨‍👩‍👧‍👦"]) func longNamesAreShortenedBetweenCharacters(unit: String) {
    for host in ["h", String(repeating: "h", count: 300)] {
      let long = String(repeating: unit, count: 400 / unit.utf8.count)
      let result = name("dir/\(long)", host: host)
      let last = result.utf8.split(separator: UInt8(ascii: "/"))[1]
      #expect(last.count <= 255)
      #expect(last.count > 255 - unit.utf8.count - 1)
      let kept = String(result.dropFirst(4).prefix { $0 != " " })
      #expect(kept.utf8.count % unit.utf8.count == 0)
      #expect(long.utf8.starts(with: kept.utf8))
    }
  }

  @Test func aKeyNeverPasses1024Bytes() {
    let result = name(String(repeating: "d/", count: 440) + String(repeating: "n", count: 144))
    #expect(result.utf8.count == 1024)
    #expect(result.hasPrefix(String(repeating: "d/", count: 440) + "n"))
  }

  /// As a Character, "/" with a combining mark behind it is no slash.
  @Test func aSlashIsFoundByItsByte() {
    let directory = String(repeating: "d", count: 200)
    let result = name("\(directory)/\u{301}" + String(repeating: "n", count: 100))
    #expect(result.utf8.starts(with: "\(directory)/\u{301}nnn".utf8))
    #expect(result.utf8.count == 200 + 1 + 2 + 100 + " (conflict host 1970-01-01 00.00.00)".utf8.count)
  }
}

@Suite struct ConflictTests {
  private func store(_ bench: Workbench, _ file: StagedFile) throws(WriteError) -> ObjectKey {
    try Conflict.store(
      file, bench.target, host: "host", time: ManualClock(seconds: 0).timeSource, conditions: bench.conditions)
  }

  @Test(arguments: [100, 9 << 20]) func bothVersionsStay(size: Int) throws {
    let bench = try Workbench()
    let file = try bench.staged()
    let ours = bytes(size, seed: 1)
    try file.write(ours, at: 0)
    _ = try bench.object([1])
    let key = try store(bench, file)
    #expect(key.string == "dir/file (conflict host 1970-01-01 00.00.00)")
    #expect(isSame(bench.memory.bytes(of: key), ours))
    #expect(bench.stored == [1])
    // What is written later would reach neither: it must fail.
    #expect(throws: WriteError.self) { try file.write([1], at: 0) }
  }

  @Test func aSecondConflictInTheSameSecondHasItsOwnName() throws {
    let bench = try Workbench()
    let keys = try (0..<3).map { index in
      let file = try bench.staged()
      try file.write([UInt8(index)], at: 0)
      return try store(bench, file)
    }
    #expect(Set(keys).count == 3)
    for (index, key) in keys.enumerated() { #expect(bench.memory.bytes(of: key) == [UInt8(index)]) }
  }

  @Test func aBaseThatIsGoneIsToldAtOnce() throws {
    let bench = try Workbench()
    let file = try bench.staged(try bench.object(bytes(100, seed: 1)))
    try file.write([1], at: 5)
    _ = try bench.object([7])
    bench.store.forgetOperations()
    #expect(storeCode { _ = try store(bench, file) } == .preconditionFailed)
    #expect(bench.store.count(.get) == 1)
    #expect(file.isDirty)
    try file.write([2], at: 6)
  }
}

@Suite struct ServerSideCopyTests {
  private func copy(
    _ bench: Workbench, _ request: CopyRequest, _ size: Int, limit: UInt64 = 12 << 20
  ) throws(ObjectStoreError) -> PutResult {
    try ServerSideCopy.copy(
      request, size: UInt64(size), in: bench.store, singleCopyLimit: limit, partSize: 5 << 20, nil)
  }

  @Test(arguments: [0, 12 << 20, (12 << 20) + 1, 15 << 20]) func everySizeArrives(size: Int) throws {
    let bench = try Workbench()
    let content = bytes(size, seed: 2)
    let attributes = ObjectAttributes(
      contentType: "text/plain", headers: [.contentEncoding: "gzip"], userMetadata: ["mode": "1"])
    let put = try bench.memory.put(PutRequest(bench.key, body: .bytes(content), attributes: attributes))
    let destination = ObjectKey("copy")
    _ = try copy(bench, CopyRequest(from: bench.key, to: destination, sourceMatch: put.etag), size)
    #expect(isSame(bench.memory.bytes(of: destination), content))
    #expect(bench.store.count(.copyPart) == (size > 12 << 20 ? (size + (5 << 20) - 1) / (5 << 20) : 0))
    let metadata = try bench.memory.head(destination)
    #expect(metadata.contentType == "text/plain" && metadata.userMetadata == ["mode": "1"])
    #expect(metadata.headers == [.contentEncoding: "gzip"])
    let given = ObjectAttributes(userMetadata: ["mode": "2"])
    _ = try copy(
      bench,
      CopyRequest(
        from: bench.key, to: bench.key, sourceMatch: put.etag, attributes: given, storageClass: "STANDARD_IA"),
      size)
    #expect(try bench.memory.head(bench.key).userMetadata == ["mode": "2"])
    #expect(try bench.memory.head(bench.key).storageClass == "STANDARD_IA")
    #expect(bench.memory.uploadCount == 0)
  }

  @Test func aFailedPartEndsTheUpload() throws {
    let bench = try Workbench()
    let base = try bench.object(bytes(13 << 20, seed: 2))
    bench.store.setRule { $0.kind == .copyPart && $0.part == 2 ? .fail(.serverError) : nil }
    let request = CopyRequest(from: bench.key, to: ObjectKey("copy"), sourceMatch: base.etag)
    #expect(storeCode { _ = try copy(bench, request, 13 << 20) } == .serverError)
    #expect(bench.memory.keys == [bench.key] && bench.memory.uploadCount == 0)
  }

  @Test func anotherVersionIsNotCopied() throws {
    let bench = try Workbench()
    _ = try bench.object(bytes(13 << 20, seed: 2))
    let request = CopyRequest(from: bench.key, to: ObjectKey("copy"), sourceMatch: ETag("other"))
    #expect(storeCode { _ = try copy(bench, request, 13 << 20) } == .preconditionFailed)
    #expect(bench.store.count(.createUpload) == 0)
  }

  /// New attributes for a large object must not bring back the bytes of before.
  @Test func aCopyInPlaceDoesNotReplaceANewerVersion() throws {
    let bench = try Workbench()
    let base = try bench.object(bytes(13 << 20, seed: 2))
    let gate = Gate()
    bench.store.setRule { $0.kind == .completeUpload ? .hold(gate) : nil }
    let answer = OneShot<ObjectStoreError.Code?>()
    let copier = Thread.start(name: "copier") {
      let request = CopyRequest(
        from: bench.key, to: bench.key, sourceMatch: base.etag, attributes: ObjectAttributes())
      answer.fulfil(storeCode { _ = try copy(bench, request, 13 << 20) })
    }
    gate.waitForArrival()
    _ = try bench.object([1])
    gate.open()
    #expect(answer.wait() == .preconditionFailed)
    copier?.join()
    #expect(bench.stored == [1] && bench.memory.uploadCount == 0)
  }

  @Test func aSizeThatNoObjectHasIsRefused() throws {
    let bench = try Workbench()
    let request = CopyRequest(from: bench.key, to: ObjectKey("copy"))
    for size in [UInt64.max, PartLayout.maximumObjectSize + 1] {
      #expect(
        storeCode {
          _ = try ServerSideCopy.copy(
            from: request.source, to: request.destination, size: size, etag: nil, attributes: nil, storageClass: nil,
            in: bench.store)
        } == .invalidSize)
    }
    #expect(bench.store.operations.isEmpty)
  }
}

@Suite struct ServerSideComparisonTests {
  private func isSame(_ bench: Workbench, _ one: [UInt8], _ other: [UInt8]) throws -> Bool {
    let objects = try [("one", one), ("other", other)].map { name, bytes in
      let key = ObjectKey(name)
      return (key, try bench.memory.put(PutRequest(key, body: .bytes(bytes))).etag)
    }
    return try ServerSideComparison.isSame(
      objects[0], objects[1], size: UInt64(one.count), in: bench.store, noting: bench.journal)
  }

  @Test func bytesAreComparedAndNothingStays() throws {
    let bench = try Workbench()
    let large = bytes(1 << 20, seed: 1)
    var changed = large
    changed[77_777] ^= 1
    #expect(try isSame(bench, large, large))
    #expect(try !isSame(bench, large, changed))
    #expect(bench.store.count(.get) == 0)
    #expect(bench.memory.uploadCount == 0 && bench.journal.names("files").isEmpty)
  }

  @Test func aServerThatCannotTellIsNotBelieved() throws {
    let bench = try Workbench()
    bench.store.setRule { $0.kind == .copyPart ? .fail(.unsupported) : nil }
    #expect(try !isSame(bench, [1], [1]))
    #expect(bench.memory.uploadCount == 0)
    bench.store.setRule { $0.kind == .copyPart ? .fail(.timedOut) : nil }
    #expect(storeCode { _ = try isSame(bench, [1], [1]) } == .timedOut)
    bench.store.setRule { $0.kind == .abortUpload ? .fail(.timedOut) : nil }
    #expect(try isSame(bench, [1], [1]))
    #expect(bench.journal.names("files").count == 1, "the next mount aborts it")
  }
}
