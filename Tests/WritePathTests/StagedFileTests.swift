import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import WritePath

@Suite struct StagedFileTests {
  @Test func aNewFileIsDirtyAndBecomesAnObject() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    #expect(file.isDirty && file.size == 0)
    let outcome = try bench.upload(file, .ifAbsent)
    #expect(outcome.size == 0 && !file.isDirty)
    #expect(bench.stored == [])
    #expect(file.base?.etag == outcome.etag)
    #expect(bench.store.count(.createUpload) == 0)
  }

  @Test func holesAndGrowthAreZeros() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write([1, 2], at: 10)
    try file.truncate(to: 20)
    let expected = [UInt8](repeating: 0, count: 10) + [1, 2] + [UInt8](repeating: 0, count: 8)
    #expect(try file.read(100, at: 0) == expected)
    #expect(try file.read(5, at: 20).isEmpty)
    _ = try bench.upload(file)
    #expect(bench.stored == expected)
  }

  @Test func whatWasCutOffDoesNotComeBack() throws {
    let bench = try Workbench()
    let file = try bench.staged(try bench.object(bytes(1000, seed: 1)))
    try file.truncate(to: 10)
    try file.truncate(to: 30)
    let expected = Array(bytes(1000, seed: 1)[..<10]) + [UInt8](repeating: 0, count: 20)
    #expect(try file.read(100, at: 0) == expected)
    _ = try bench.upload(file)
    #expect(bench.stored == expected)
  }

  @Test func hostileOffsetsAreRefusedAndDoNotTrap() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write([1], at: 0)
    let offsets: [UInt64] = [UInt64.max, UInt64.max - 1, UInt64(1) << 63, UInt64(5) << 40]
    for offset in offsets {
      #expect(throws: WriteError.self) {
        try [UInt8](repeating: 1, count: 2).withUnsafeBytes { try file.write($0, at: offset) }
      }
      #expect(file.isUntouched(offset: offset, count: .max))
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
      defer { buffer.deallocate() }
      #expect(try file.read(into: buffer, at: offset) == 0)
    }
    #expect(throws: WriteError.self) { try file.truncate(to: (5 << 40) + 1) }
    #expect(file.size == 1 && file.failure == nil)
    _ = try bench.upload(file)
    #expect(bench.stored == [1])
  }

  /// Random writes, cuts, reads and uploads, compared with an array; half of them on a base of several parts.
  @Test(arguments: 0..<6) func agreesWithAnArray(seed: Int) throws {
    let bench = try Workbench()
    var random = Random(UInt64(seed) + 11)
    let start = seed % 2 == 0 ? 0 : 2 * partBytes + random.below(partBytes)
    var model = bytes(start, seed: 99)
    var base: StagingBase?
    if start > 0 { base = try bench.object(model) }
    let file = try bench.staged(base, streams: seed % 3 == 0)
    for step in 0..<60 {
      let offset = random.below(model.count + 100_000)
      switch random.below(10) {
      case 0...4:
        let large = random.below(6) == 0
        let data = bytes(1 + random.below(large ? 3 * mebibyte : 70_000), seed: UInt64(step))
        try file.write(data, at: offset)
        if model.count < offset + data.count {
          model += [UInt8](repeating: 0, count: offset + data.count - model.count)
        }
        model.withUnsafeMutableBytes { target in
          UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + data.count])
            .copyBytes(from: data)
        }
      case 5:
        try file.truncate(to: UInt64(offset))
        if offset < model.count {
          model.removeLast(model.count - offset)
        } else {
          model += [UInt8](repeating: 0, count: offset - model.count)
        }
      case 6:
        // A step to the other side of the one-PUT limit.
        let size = partBytes + random.below(3) - 1
        try file.truncate(to: UInt64(size))
        model = Array(model.prefix(size)) + [UInt8](repeating: 0, count: max(0, size - model.count))
      case 7, 8:
        let count = 1 + random.below(200_000)
        let from = min(offset, model.count)
        #expect(isSame(try file.read(count, at: offset), Array(model[from..<min(model.count, from + count)])))
      default:
        _ = try bench.upload(file)
        #expect(isSame(bench.stored, model), "seed \(seed), step \(step)")
        #expect(!file.isDirty)
      }
      #expect(file.size == UInt64(model.count))
    }
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model), "seed \(seed)")
    #expect(bench.memory.uploadCount == 0)
  }

  @Test func onlyTheChangedPartTravels() throws {
    let bench = try Workbench()
    var model = bytes(4 * partBytes + 5, seed: 3)
    let base = try bench.object(model)
    let file = try bench.staged(base)
    try file.write([9, 9, 9], at: 2 * partBytes + 100)
    model.replaceSubrange(2 * partBytes + 100..<2 * partBytes + 103, with: [9, 9, 9])
    _ = try bench.upload(file, .ifMatch(base.etag))
    #expect(isSame(bench.stored, model))
    // Before it and after it, whole.
    #expect(bench.store.count(.copyPart) == 2)
    #expect(bench.store.count(.uploadPart) == 1)
    // Nothing was fetched but what the change needs to be a part.
    let fetched = bench.store.operations.filter { $0.kind == .get }.compactMap { $0.range?.length }.reduce(0, +)
    #expect(fetched == UploadPlan.minimumPartSize - 3)
  }

  @Test func aServerWithoutCopiesOfPartsGetsTheBytes() throws {
    let bench = try Workbench()
    var model = bytes(2 * partBytes + 5, seed: 3)
    let file = try bench.staged(try bench.object(model))
    bench.store.setRule { $0.kind == .copyPart ? .fail(.unsupported) : nil }
    try file.write([9], at: 0)
    model[0] = 9
    _ = try bench.upload(file)
    #expect(isSame(bench.stored, model))
    // The part that was changed may have left before the server refused; then it is sent again, in a new upload.
    #expect((3...4).contains(bench.store.count(.uploadPart)))
    #expect(bench.memory.uploadCount == 0)
  }

  @Test func aBaseThatWasChangedByOthersIsNoticed() throws {
    let bench = try Workbench()
    let file = try bench.staged(try bench.object(bytes(2 * partBytes, seed: 3)))
    try file.write([9], at: 0)
    let theirs = bytes(2 * partBytes, seed: 4)
    _ = try bench.object(theirs)
    #expect(storeCode { _ = try bench.upload(file) } == .preconditionFailed)
    #expect(isSame(bench.stored, theirs))
    #expect(file.isDirty)
  }

  @Test func aRenameWhileBytesAreFetchedIsFollowed() throws {
    let bench = try Workbench()
    let content = bytes(5000, seed: 8)
    let base = try bench.object(content)
    let file = try bench.staged(base)
    let gate = Gate()
    bench.store.setRule { $0.kind == .get && $0.ordinal == 1 ? .hold(gate) : nil }
    let answer = OneShot<[UInt8]?>()
    let reader = Thread.start(name: "reader") { answer.fulfil(try? file.read(5000, at: 0)) }
    gate.waitForArrival()
    let moved = ObjectKey("elsewhere")
    let copy = try bench.memory.copy(CopyRequest(from: base.key, to: moved))
    try bench.memory.delete(base.key)
    file.relocate(to: moved, etag: copy.etag)
    gate.open()
    #expect(isSame(answer.wait(), content))
    reader?.join()
  }

  @Test func aRetiredFileTakesNoWrites() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write([1], at: 0)
    #expect(!file.retireIfClean())
    try file.write([2], at: 1)
    _ = try bench.upload(file)
    #expect(file.retireIfClean())
    #expect(throws: WriteError.self) { try file.write([3], at: 2) }
    #expect(throws: WriteError.self) { try file.truncate(to: 0) }
    #expect(!file.isDirty && file.failure == nil)
    #expect(try file.read(10, at: 0) == [1, 2])
  }

  @Test func aStagingFileThatWasCutIsAnErrorAndNotZeros() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write(bytes(1000, seed: 1), at: 0)
    #expect(ftruncate(file.entry.file.descriptor.rawValue, 10) == 0)
    #expect(throws: WriteError.self) { try file.read(1000, at: 0) }
    #expect(throws: WriteError.self) { try bench.upload(file) }
    #expect(bench.stored == nil)
  }
}

@Suite struct FailedWriteTests {
  /// The staging file of a disk that takes no more: a descriptor that cannot write.
  private func broken(_ bench: Workbench, _ base: StagingBase? = nil) throws -> StagedFile {
    let path = try bench.journal.makeEntry().path
    let readOnly = SharedDescriptor(owning: try FileDescriptor.open(path, .readOnly))
    let entry = JournalEntry(area: bench.journal.own, number: 99, live: JournalData(path: path, file: readOnly))
    return StagedFile(entry: entry, base: base, context: bench.context)
  }

  @Test func isNeverUploaded() throws {
    let bench = try Workbench()
    let file = try broken(bench)
    #expect(throws: WriteError.self) { try file.write([1], at: 0) }
    #expect(file.failure == .badFileDescriptor)
    #expect(throws: WriteError.self) { try bench.upload(file, .ifAbsent) }
    #expect(bench.memory.keys.isEmpty)
    #expect(file.isDirty)
  }

  @Test func aFailedTruncationBreaksNothing() throws {
    let bench = try Workbench()
    let file = try broken(bench, try bench.object([1, 2, 3]))
    #expect(throws: WriteError.self) { try file.truncate(to: 1) }
    #expect(file.failure == nil && file.size == 3 && !file.isDirty)
  }

  /// A write that fails while the parts travel: what is there is not whole.
  @Test(arguments: [16 << 20, 1000]) func aWriteThatFailsDuringTheUploadStopsIt(size: Int) throws {
    let bench = try Workbench()
    let file = try bench.staged()
    try file.write(bytes(size, seed: 1), at: 0)
    let isSmall = size < partBytes
    bench.store.setRule { operation in
      if operation.kind == (isSmall ? .put : .uploadPart), operation.ordinal == 1 {
        file.state.withLock { $0.failure = .noSpace }
      }
      return nil
    }
    if isSmall {
      // The one PUT carries a version that was whole; the next does not go.
      _ = try bench.upload(file)
      bench.store.forgetOperations()
      #expect(throws: WriteError.self) { try bench.upload(file) }
      #expect(bench.store.count(.put) == 0)
    } else {
      #expect(throws: WriteError.self) { try bench.upload(file) }
      #expect(bench.stored == nil && bench.memory.uploadCount == 0)
    }
  }

  @Test func aFileThatIsEmptiedIsWholeAgain() throws {
    let bench = try Workbench()
    let file = try bench.staged()
    file.state.withLock { $0.failure = .noSpace }
    #expect(throws: WriteError.self) { try bench.upload(file) }
    try file.truncate(to: 0)
    try file.write([7], at: 0)
    _ = try bench.upload(file)
    #expect(bench.stored == [7])
  }
}
