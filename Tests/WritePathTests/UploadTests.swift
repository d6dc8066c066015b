import Basics
import Glibc
import ObjectStore
import Synchronization
import Testing

@testable import WritePath

@Suite struct UploadTests {
  /// Writers go on while uploads run; whenever all is quiet, an upload leaves exactly the file.
  @Test(arguments: [false, true]) func writersDuringUploads(streams: Bool) throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: streams)
    let size = 2 * partBytes + 1000
    try file.write(bytes(size, seed: 5), at: 0)
    let failures = Mutex(0)
    let writers = (0..<2).compactMap { index in
      Thread.start(name: "writer") {
        var random = Random(UInt64(index) + 1)
        for step in 0..<150 {
          let data = bytes(1 + random.below(3000), seed: UInt64(step))
          do {
            try file.write(data, at: random.below(size + 200_000))
            if step % 40 == 0 { try file.truncate(to: UInt64(size + random.below(200_000) - 100_000)) }
          } catch {
            failures.withLock { $0 += 1 }
          }
        }
      }
    }
    for _ in 0..<2 {
      // A part that was cut off while it was sent is no reason for an error.
      _ = try bench.upload(file)
    }
    for writer in writers { writer.join() }
    #expect(failures.withLock { $0 } == 0)
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, try file.read(size + 300_000, at: 0)))
    #expect(!file.isDirty)
    #expect(bench.memory.uploadCount == 0)
  }

  /// The same part must not be sent while the upload is completed: the tag that was listed would be another's.
  @Test func aPartThatGrowsDuringTheCompletionStaysOut() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    var model = bytes(partBytes + 1000, seed: 5)
    try file.write(model, at: 0)
    let gate = Gate()
    bench.store.setRule { $0.kind == .completeUpload && $0.ordinal == 1 ? .hold(gate) : nil }
    let answer = OneShot<Result<UploadOutcome, WriteError>>()
    let uploader = Thread.start(name: "uploader") {
      answer.fulfil(Result { () throws(WriteError) in try bench.upload(file) })
    }
    gate.waitForArrival()
    let before = model
    let more = bytes(partBytes, seed: 6)
    try file.write(more, at: model.count)
    model += more
    // What the write has handed to the workers is through before the completion goes on.
    bench.workers.shutdown()
    gate.open()
    #expect(throws: Never.self) { try answer.wait().get() }
    uploader?.join()
    #expect(isSame(bench.stored, before))
    #expect(file.isDirty)
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model))
    #expect(bench.memory.uploadCount == 0)
  }

  /// One PUT is made from memory: a file that has become large must not come there.
  @Test func aSmallFileThatGrowsBeforeItIsReadGoesInParts() throws {
    let bench = try Workbench()
    let base = try bench.object(bytes(1000, seed: 1))
    let file = try bench.staged(base)
    try file.write([1], at: 5)
    let gate = Gate()
    bench.store.setRule { $0.kind == .get && $0.ordinal == 1 ? .hold(gate) : nil }
    let answer = OneShot<Result<UploadOutcome, WriteError>>()
    let uploader = Thread.start(name: "uploader") {
      answer.fulfil(Result { () throws(WriteError) in try bench.upload(file) })
    }
    gate.waitForArrival()
    try file.truncate(to: UInt64(partBytes + 10))
    gate.open()
    #expect(throws: Never.self) { try answer.wait().get() }
    uploader?.join()
    #expect(bench.store.count(.completeUpload) == 1)
    #expect(isSame(bench.stored, try file.read(partBytes + 100, at: 0)))
  }

  @Test func noSuchUploadBeginsAnew() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    let model = bytes(2 * partBytes, seed: 5)
    try file.write(model, at: 0)
    bench.store.setRule { $0.kind == .uploadPart && $0.ordinal == 2 ? .fail(.noSuchUpload) : nil }
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model))
    #expect(bench.store.count(.createUpload) == 2)
    #expect(bench.memory.uploadCount == 0)
  }

  @Test func aConflictIsTriedAgainAndNotForEver() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write(bytes(partBytes + 1, seed: 5), at: 0)
    bench.store.setRule { $0.kind == .completeUpload && $0.ordinal <= 2 ? .fail(.conflict) : nil }
    _ = try bench.upload(file)
    #expect(bench.store.count(.completeUpload) == 3)
    bench.store.forgetOperations()
    bench.store.setRule { $0.kind == .put ? .fail(.conflict) : nil }
    try file.truncate(to: 10)
    #expect(storeCode { _ = try bench.upload(file) } == .conflict)
    #expect(bench.store.count(.put) == 3)
    #expect(file.isDirty)
  }

  @Test func somebodyElsesObjectStaysAndTheUploadIsGivenUp() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write(bytes(partBytes + 1, seed: 5), at: 0)
    _ = try bench.object([1, 2, 3])
    #expect(storeCode { _ = try bench.upload(file, .ifAbsent) } == .preconditionFailed)
    #expect(bench.stored == [1, 2, 3])
    #expect(bench.memory.uploadCount == 0)
    #expect(file.isDirty)
    let small = try bench.staged()
    #expect(storeCode { _ = try bench.upload(small, .ifAbsent) } == .preconditionFailed)
  }

  @Test func afterAFailureOnlyTheRestIsSent() throws {
    let bench = try Workbench(workers: 1)
    let file = try bench.staged()
    let model = bytes(4 * partBytes, seed: 5)
    try file.write(model, at: 0)
    bench.store.setRule { $0.kind == .uploadPart && $0.part == 3 ? .fail(.connectionFailed) : nil }
    #expect(storeCode { _ = try bench.upload(file) } == .connectionFailed)
    // The parts behind the one that failed were not tried.
    #expect(bench.store.count(.uploadPart) == 3)
    #expect(bench.stored == nil && file.isDirty)
    bench.store.setRule { _ in nil }
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model))
    #expect(bench.store.count(.uploadPart) == 5)
    #expect(bench.store.count(.createUpload) == 1)
  }

  @Test(arguments: [ObjectStoreError.Code.invalidRequest, .invalidSize])
  func aRefusedListOfPartsIsNotOfferedAgain(code: ObjectStoreError.Code) throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write(bytes(partBytes + 1, seed: 5), at: 0)
    bench.store.setRule { $0.kind == .completeUpload && $0.ordinal == 1 ? .fail(code) : nil }
    #expect(storeCode { _ = try bench.upload(file) } == code)
    _ = try bench.upload(file)
    #expect(bench.store.count(.createUpload) == 2)
    #expect(bench.stored != nil && bench.memory.uploadCount == 0)
  }

  @Test func aCancelledUploadCanBeMadeAgain() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    let model = bytes(2 * partBytes, seed: 5)
    try file.write(model, at: 0)
    let cancellation = Cancellation()
    let gate = Gate()
    bench.store.setRule { $0.kind == .uploadPart ? .hold(gate) : nil }
    let answer = OneShot<ObjectStoreError.Code?>()
    let uploader = Thread.start(name: "uploader") {
      answer.fulfil(storeCode { _ = try bench.upload(file, .none, cancellation) })
    }
    gate.waitForArrival()
    cancellation.cancel()
    #expect(answer.wait() == .cancelled)
    uploader?.join()
    bench.store.setRule { _ in nil }
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model))
    #expect(bench.memory.uploadCount == 0)
  }
}

@Suite struct StreamingTests {
  @Test func fullPartsLeaveEarlyAndPatchesFollow() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    var model = bytes(3 * partBytes + 17, seed: 5)
    for offset in stride(from: 0, to: model.count, by: mebibyte) {
      try file.write(Array(model[offset..<min(model.count, offset + mebibyte)]), at: offset)
    }
    bench.workers.shutdown()
    #expect(bench.store.count(.uploadPart) == 3)
    // The header, as ffmpeg and zip do.
    try file.write([1, 2, 3, 4], at: 4)
    model.replaceSubrange(4..<8, with: [1, 2, 3, 4])
    let outcome = try bench.upload(file, .ifAbsent)
    #expect(isSame(bench.stored, model))
    #expect(outcome.size == UInt64(model.count))
    // The first part again, and the tail.
    #expect(bench.store.count(.uploadPart) == 5)
    #expect(bench.store.count(.createUpload) == 1)
  }

  @Test func aFileOfExactlyOnePartIsOnePut() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    try file.write(bytes(partBytes, seed: 5), at: 0)
    _ = try bench.upload(file)
    #expect(bench.store.count(.createUpload) == 0)
    #expect(bench.store.count(.put) == 1)
  }

  @Test func cutShorterThanOnePartWhileStreaming() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    try file.write(bytes(2 * partBytes + 1, seed: 5), at: 0)
    try file.truncate(to: 100)
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, Array(bytes(2 * partBytes + 1, seed: 5)[..<100])))
    #expect(bench.memory.uploadCount == 0)
  }

  @Test func cutAndWrittenAgainWhileStreaming() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    try file.write(bytes(2 * partBytes + 1, seed: 5), at: 0)
    try file.truncate(to: UInt64(partBytes + 3))
    let more = bytes(2 * partBytes, seed: 6)
    try file.write(more, at: partBytes + 3)
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, Array(bytes(2 * partBytes + 1, seed: 5)[..<(partBytes + 3)]) + more))
  }

  @Test func partsThatFailEarlyAreSentAtTheEnd() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    let model = bytes(3 * partBytes + 17, seed: 5)
    bench.store.setRule { [.uploadPart, .createUpload].contains($0.kind) ? .fail(.connectionFailed) : nil }
    try file.write(model, at: 0)
    #expect(storeCode { _ = try bench.upload(file) } == .connectionFailed)
    #expect(file.isDirty && bench.stored == nil)
    bench.store.setRule { _ in nil }
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model))
  }

  /// The file was renamed: what left for the old name is given up, and the new name gets everything.
  @Test func anUploadToAnotherNameBeginsAnew() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    let model = bytes(2 * partBytes + 17, seed: 5)
    try file.write(model, at: 0)
    var target = bench.target
    target.key = ObjectKey("renamed")
    _ = try file.upload(UploadOrder(target, condition: .none, conditions: bench.conditions))
    #expect(isSame(bench.memory.bytes(of: target.key), model))
    #expect(bench.stored == nil && bench.memory.uploadCount == 0)
  }

  /// A writer that asked for the name before a rename must not stop the upload to the new one.
  @Test func aWriterWithTheOldNameDoesNotStopTheUploadToTheNew() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    let model = bytes(2 * partBytes + 17, seed: 5)
    bench.store.setRule { $0.kind == .createUpload && $0.key == bench.key ? .fail(.serverError) : nil }
    try file.write(model, at: 0)
    let gate = Gate()
    bench.store.setRule { $0.kind == .completeUpload ? .hold(gate) : nil }
    var target = bench.target
    target.key = ObjectKey("renamed")
    let answer = OneShot<Result<UploadOutcome, WriteError>>()
    let uploader = Thread.start(name: "uploader") { [target] in
      answer.fulfil(
        Result { () throws(WriteError) in
          try file.upload(UploadOrder(target, condition: .none, conditions: bench.conditions))
        })
    }
    gate.waitForArrival()
    try file.write(bytes(2 * partBytes, seed: 6), at: model.count)
    gate.open()
    #expect(throws: Never.self) { try answer.wait().get() }
    uploader?.join()
    #expect(isSame(bench.memory.bytes(of: target.key), model))
    file.discard()
    #expect(bench.memory.uploadCount == 0)
  }

  @Test func discardGivesUpTheUploadAndRemovesTheFile() throws {
    let bench = try Workbench()
    let file = try bench.staged(streams: true)
    try file.write(bytes(3 * partBytes, seed: 5), at: 0)
    file.discard()
    bench.workers.shutdown()
    #expect(bench.memory.uploadCount == 0)
    #expect(try FileSystem.names(in: bench.journal.directory.appending("files")).isEmpty)
  }
}
