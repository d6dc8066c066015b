import Basics
import Glibc
import ObjectStore
import Synchronization
import SystemPackage
import Testing

@testable import WritePath

/// Watches the directory of a journal, and keeps what a crash before each step would leave.
///
/// After the end of the daemon (`kill -9`) that is what the kernel shows. After a power failure, names are those of any
/// moment since their directory was synced, and bytes those of any moment since their file was: the two ends of both are
/// tried, in every combination.
private final class CrashRecorder: Sendable {
  /// Bytes by folder and name.
  typealias Files = [String: [UInt8]]

  struct Crash {
    var afterPowerFailure: Bool
    var files: Files
    /// What may be pending afterwards; nil: nothing.
    var allowed: [[UInt8]?]
    /// Bytes that must be somewhere.
    var kept: [UInt8]?
    var label: String
  }

  fileprivate struct State {
    var directory: FilePath?
    var names: [String: [String: ino_t]] = [:]
    var durableNames: [String: [String: ino_t]] = [:]
    var open: [ino_t: SharedDescriptor] = [:]
    var durableBytes: [ino_t: [UInt8]] = [:]
    var last: JournalDisk.Step?
    var allowed: [[UInt8]?] = [nil]
    var kept: [UInt8]?
    var label = ""
    var crashes: [Crash] = []
    var steps = 0
    var failAt: Int?
  }

  private let state = Mutex(State())

  var crashes: [Crash] { state.withLock { $0.crashes } }
  var steps: Int { state.withLock { $0.steps } }

  private let powerFails: Bool

  /// - Parameters:
  ///   - powerFails: power failures are tried as well.
  ///   - failAt: the step that fails, the first of interest; none with nil.
  init(powerFails: Bool, failAt: Int? = nil) {
    self.powerFails = powerFails
    state.withLock { $0.failAt = failAt }
  }

  var disk: JournalDisk {
    JournalDisk { step throws(Errno) in
      self.look("before \(step)")
      let fails = self.state.withLock { state in
        state.steps += 1
        state.last = state.steps == state.failAt ? nil : step
        return state.steps == state.failAt
      }
      if fails { throw .noSpace }
    }
  }

  func watch(_ directory: FilePath) {
    state.withLock { $0.directory = directory }
    scan()
    state.withLock { $0.durableNames = $0.names }
  }

  func expect(_ allowed: [[UInt8]?], kept: [UInt8]?, _ label: String) {
    state.withLock { ($0.allowed, $0.kept, $0.label) = (allowed, kept, label) }
  }

  /// Notes what a crash now would leave.
  func look(_ moment: String) {
    guard state.withLock({ $0.directory != nil && $0.steps + 1 >= $0.failAt ?? 0 }) else { return }
    scan()
    state.withLock { state in
      switch state.last {
      case .sync(let path): if let inode = state.inode(path) { state.durableBytes[inode] = state.bytes(inode) }
      case .syncDirectory(let path): state.durableNames[path.name] = state.names[path.name]
      default: break
      }
      state.last = nil
      for isOldNames in powerFails ? [false, true] : [false] {
        for isOldBytes in powerFails ? [false, true] : [false] {
          var files: Files = [:]
          for (folder, names) in isOldNames ? state.durableNames : state.names {
            for (name, inode) in names {
              files["\(folder)/\(name)"] = isOldBytes ? state.durableBytes[inode] ?? [] : state.bytes(inode)
            }
          }
          state.crashes.append(
            Crash(
              afterPowerFailure: isOldNames || isOldBytes, files: files, allowed: state.allowed, kept: state.kept,
              label: "\(state.label), \(moment), old names \(isOldNames), old bytes \(isOldBytes)"))
        }
      }
    }
  }

  private func scan() {
    guard let directory = state.withLock({ $0.directory }) else { return }
    for folder in JournalArea.folders {
      var names: [String: ino_t] = [:]
      for name in (try? FileSystem.names(in: directory.appending(folder))) ?? [] {
        guard let file = try? JournalDisk.open(directory.appending(folder).appending(name), O_RDONLY) else { continue }
        var info = stat()
        fstat(file.descriptor.rawValue, &info)
        names[name] = info.st_ino
        // Kept open: an inode that is removed here may have to come back, and its number must not be used again.
        state.withLock { if $0.open[info.st_ino] == nil { $0.open[info.st_ino] = file } }
      }
      state.withLock { $0.names[folder] = names }
    }
  }
}

extension CrashRecorder.State {
  fileprivate func inode(_ path: FilePath) -> ino_t? {
    names[path.removingLastComponent().name]?[path.name]
  }

  fileprivate func bytes(_ inode: ino_t) -> [UInt8] {
    guard let file = open[inode] else { return [] }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes { pread(file.descriptor.rawValue, $0.baseAddress, $0.count, 0) }
    return Array(bytes.prefix(max(0, count)))
  }
}

/// The life of one file, told step by step to a recorder.
private struct Life {
  let entry: JournalEntry
  let recorder: CrashRecorder
  let durable: Bool

  /// Does something that may leave either of the two.
  func step(_ label: String, from old: [UInt8]?, to new: [UInt8]?, kept: [UInt8]?, _ body: () throws -> Void) throws {
    recorder.expect(old == new ? [old] : [old, new], kept: kept, label)
    do {
      try body()
    } catch {
      recorder.look("failed")
      // The caller tries again.
      try body()
    }
    recorder.expect([new], kept: kept, label)
    recorder.look("after")
  }

  func write(_ bytes: [UInt8], over old: [UInt8]?) throws {
    try step("write", from: old, to: bytes, kept: bytes) {
      try entry.write(wholeRecord(bytes.count), durable: durable)
    }
  }

  func live(_ bytes: [UInt8], recorded: [UInt8]?) throws {
    // Until the program's write has returned, nobody knows what of it is there.
    recorder.expect([recorded], kept: nil, "live")
    try entry.fill(bytes)
    recorder.expect([recorded], kept: bytes, "live")
    recorder.look("after")
  }

  /// All states, and all ways from one to the other.
  func live() throws {
    let versions = (0..<7).map { [UInt8](repeating: UInt8(65 + $0), count: 20 + 7 * $0) }
    entry.note(.name(journalKey))
    entry.note(.expected(ExpectedVersion(ETag("e"))))
    try live(versions[0], recorded: nil)
    try write(versions[0], over: nil)
    // Changed in place, twice; the copy makes room for it.
    try step("freeze", from: versions[0], to: versions[0], kept: versions[0]) { try entry.freeze() }
    try live(versions[1], recorded: versions[0])
    try write(versions[1], over: versions[0])
    try step("freeze again", from: versions[1], to: versions[1], kept: versions[1]) { try entry.freeze() }
    try live(versions[2], recorded: versions[1])
    // Begun anew while a copy is there already, which changes nothing.
    try step("afresh, frozen", from: versions[1], to: versions[1], kept: versions[2]) { try entry.startAfresh() }
    try write(versions[2], over: versions[1])
    // Begun anew.
    try step("afresh", from: versions[2], to: versions[2], kept: versions[2]) { try entry.startAfresh() }
    try live(versions[3], recorded: versions[2])
    try write(versions[3], over: versions[2])
    try step("afresh twice", from: versions[3], to: versions[3], kept: versions[3]) { try entry.startAfresh() }
    try step("freeze, afresh", from: versions[3], to: versions[3], kept: versions[3]) { try entry.freeze() }
    try live(versions[4], recorded: versions[3])
    try write(versions[4], over: versions[3])
    // In the bucket: the record may come back with a power failure, until the bytes are to be changed.
    recorder.expect([versions[4], nil], kept: versions[4], "forget")
    entry.forget()
    if entry.isRecorded { entry.forget() }
    recorder.look("after")
    try step("freeze, forgotten", from: versions[4], to: nil, kept: versions[4]) { try entry.freeze() }
    try live(versions[5], recorded: nil)
    try write(versions[5], over: nil)
    try step("last freeze", from: versions[5], to: versions[5], kept: versions[5]) { try entry.freeze() }
    try live(versions[6], recorded: versions[5])
  }
}

@Suite struct JournalCrashTests {
  /// Power failures are tried where everything is waited for.
  private func run(durable: Bool, failAt: Int? = nil, _ body: (Life) throws -> Void) throws -> CrashRecorder {
    let bench = try JournalBench()
    let recorder = CrashRecorder(powerFails: durable, failAt: failAt)
    let journal = try bench.open(disk: recorder.disk)
    let entry = try journal.makeEntry()
    recorder.watch(journal.directory)
    try body(Life(entry: entry, recorder: recorder, durable: durable))
    return recorder
  }

  private struct Sight {
    var pending: [[UInt8]?] = []
    var recordedSizes: [Int] = []
    var recovered: [[UInt8]?] = []
    var quarantine: [String] = []
  }

  /// What a mount finds; it ends at once.
  private func mount(_ bench: JournalBench) throws -> Sight {
    let (journal, found) = try bench.takeUp()
    var sight = Sight(
      pending: found.pending.map { $0.entry.liveBytes }, recordedSizes: found.pending.map { Int($0.record.size) })
    sight.quarantine = journal.names("quarantine")
    sight.recovered = journal.names("recovered").filter { $0.hasSuffix(".data") }.map {
      try? JournalDisk.read(journal.directory.appending("recovered").appending($0))
    }
    return sight
  }

  private func check(_ crash: CrashRecorder.Crash) throws {
    let bench = try JournalBench()
    let directory: FilePath
    do { directory = try bench.open().directory }
    for (name, bytes) in crash.files { try directory.appending(name).overwrite(bytes) }
    let sight = try mount(bench)
    let isAllowed = sight.pending.count <= 1 && crash.allowed.contains { $0 == (sight.pending.first ?? nil) }
    #expect(isAllowed, "\(crash.label): \(sight), files \(crash.files.keys.sorted())")
    #expect(sight.recordedSizes == sight.pending.map { $0?.count }, "\(crash.label)")
    // Nothing that was whole is treated as damage, but for copies nobody named yet.
    #expect(
      sight.quarantine.allSatisfy { $0.hasSuffix(".new") || $0.hasSuffix(".copy") }, "\(crash.label): \(sight)")
    if let kept = crash.kept, !crash.afterPowerFailure {
      #expect((sight.pending + sight.recovered).contains { $0 == kept }, "\(crash.label): \(sight)")
    }
    // The daemon dies right after: the same again.
    let again = try mount(bench)
    #expect(again.pending == sight.pending && again.recovered == sight.recovered, "\(crash.label)")
  }

  @Test(arguments: [false, true]) func everyCrashLeavesOneWholeVersion(durable: Bool) throws {
    let recorder = try run(durable: durable) { try $0.live() }
    var seen: Set<Situation> = []
    try check(recorder, &seen)
    #expect(seen.count > (durable ? 150 : 40))
  }

  /// Each step fails once, as with a full disk, and is tried again.
  @Test func everyFailedStepLeavesOneWholeVersion() throws {
    let steps = try run(durable: false) { try $0.live() }.steps
    #expect(steps > 30)
    var seen: Set<Situation> = []
    for failAt in 2...steps {
      try check(try run(durable: false, failAt: failAt) { try $0.live() }, &seen)
    }
    #expect(seen.count > steps)
  }

  @Test(arguments: [false, true]) func everyCrashWhileSettingAsideKeepsBoth(durable: Bool) throws {
    let recorder = try run(durable: durable) { life in
      try life.live([1, 2, 3], recorded: nil)
      try life.write([1, 2, 3], over: nil)
      try life.step("afresh", from: [1, 2, 3], to: [1, 2, 3], kept: [1, 2, 3]) { try life.entry.startAfresh() }
      try life.live([4, 5], recorded: [1, 2, 3])
      life.entry.note(.name(journalKey))
      try life.step("set aside", from: [1, 2, 3], to: [1, 2, 3], kept: [4, 5]) { life.entry.setAside() }
    }
    var seen: Set<Situation> = []
    try check(recorder, &seen)
  }

  @Test(arguments: ["live", "recorded", "frozen", "afresh"]) func everyCrashWhileDiscarding(state: String) throws {
    let recorder = try run(durable: false) { life in
      try life.live([1, 2, 3], recorded: nil)
      life.entry.note(.name(journalKey))
      if state != "live" { try life.write([1, 2, 3], over: nil) }
      if state == "frozen" { try life.entry.freeze() }
      if state == "afresh" { try life.entry.startAfresh() }
      life.recorder.expect(state == "live" ? [nil] : [[1, 2, 3], nil], kept: nil, "discard")
      life.entry.discard()
      life.recorder.expect([nil], kept: nil, "discard")
      life.recorder.look("after")
    }
    #expect(recorder.crashes.last { !$0.afterPowerFailure }?.files.isEmpty == true)
    var seen: Set<Situation> = []
    try check(recorder, &seen)
  }

  /// What a crash leaves and what is expected of it; many moments leave the same.
  private struct Situation: Hashable {
    var files: CrashRecorder.Files
    var allowed: [[UInt8]?]
    var kept: [UInt8]?
    var afterPowerFailure: Bool
  }

  /// Checks what was not seen before.
  private func check(_ recorder: CrashRecorder, _ seen: inout Set<Situation>) throws {
    for crash in recorder.crashes {
      let situation = Situation(
        files: crash.files, allowed: crash.allowed, kept: crash.kept, afterPowerFailure: crash.afterPowerFailure)
      if seen.insert(situation).inserted { try check(crash) }
    }
  }
}
