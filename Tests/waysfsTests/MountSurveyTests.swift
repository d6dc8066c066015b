import Basics
import FuseSession
import Glibc
import Synchronization
import Testing

@testable import waysfs

struct MountSurveyTests {
  private let directory: TemporaryDirectory
  private let context: ProcessContext

  init() throws {
    directory = try TemporaryDirectory()
    mkdir("\(directory.path)/waysfs", 0o700)
    context = ProcessContext(
      uid: geteuid(), gid: 0, workingDirectory: "/", environment: ["XDG_RUNTIME_DIR": directory.path])
  }

  @Test func theRecordOfADeadProcessGoesWithItsSocket() throws {
    let folder = "\(directory.path)/waysfs"
    let contents = RecordContents(pid: 1, source: "waysfs:x", mountPoint: "/nowhere/x")
    let name = RuntimeDirectory.recordName(forMountPoint: "/nowhere/x")
    _ = try directory.file("waysfs/\(name)", contents.text)
    let socket = ControlSocket.path(forMountPoint: "/nowhere/x", in: folder)
    let dead = try ControlSocket.make()
    try ControlSocket.bind(dead, to: socket)
    close(dead)
    // Something that is no record stays.
    let other = try directory.file("waysfs/other", contents.text)
    let found = ForeignRecord.all(in: folder)
    #expect(found.map(\.contents) == [contents] && found.first?.directory == folder)
    for record in found where !record.isHeld { record.removeIfAbandoned() }
    #expect(access("\(folder)/\(name)", F_OK) != 0 && access(socket, F_OK) != 0 && access(other, F_OK) == 0)
  }

  @Test func aProcessThatLivesIsAskedAndOneThatDoesNotAnswerIsSilent() throws {
    let folder = "\(directory.path)/waysfs"
    let record = try RuntimeRecord(
      directory: folder, contents: RecordContents(pid: getpid(), source: "waysfs:x", mountPoint: "/nowhere/x"))
    defer { record.finish() }
    let seen = try #require(ForeignRecord.all(in: folder).first)
    #expect(seen.isHeld)
    seen.removeIfAbandoned()
    #expect(ForeignRecord.all(in: folder).count == 1)
    let server = try ControlServer(path: ControlSocket.path(forMountPoint: "/nowhere/x", in: folder)) { _ in
      (try? StatusJSON.encode(fullStatus(mountPoint: "/nowhere/x")).get()).map { .ok($0) } ?? .error("no")
    }
    #expect(server.start())
    defer { server.stop() }
    let status = try StatusJSON.decode(MountStatus.self, from: try seen.ask(.status, patience: 60)).get()
    #expect(status == fullStatus(mountPoint: "/nowhere/x"))
  }

  private func survey(_ ask: @escaping (ForeignRecord) throws(Failure) -> MountStatus) -> MountSurvey {
    var survey = MountSurvey(context: context, ask: ask)
    let folder = "\(directory.path)/waysfs"
    // Root's own are in a place that others use.
    survey.directories = { _, _ in [folder] }
    survey.readTable = { MountTable(parsing: "") }
    return survey
  }

  private func record() throws -> RuntimeRecord {
    try RuntimeRecord(
      directory: "\(directory.path)/waysfs",
      contents: RecordContents(pid: getpid(), source: "waysfs:x", mountPoint: "/nowhere/x"))
  }

  @Test func aMountThatStartsIsNotSilent() throws {
    let record = try record()
    defer { record.finish() }
    let starting = try #require(startingFinding().status)
    let found = try survey { _ throws(Failure) in starting }.all()
    #expect(found.map(\.state) == [.starting] && !found.contains(where: \.needsAttention))
    let silent = try survey { _ throws(Failure) in throw Failure("no answer") }.all()
    #expect(silent.map(\.state) == [.silent] && silent.allSatisfy(\.needsAttention))
  }

  /// Root's look at all mounts must not take an hour because somebody wants it to.
  @Test func aUserWhoseMountsAreAllSilentHoldsNobodyUp() throws {
    let folder = "\(directory.path)/waysfs"
    let user: UInt32 = 54322
    let points = (0..<10).map { "/nowhere/\($0)" }
    let records = try points.map {
      try RuntimeRecord(directory: folder, contents: RecordContents(pid: getpid(), source: "waysfs:x", mountPoint: $0))
    }
    defer { for record in records { record.finish() } }
    let lines = points.enumerated().map { number, point in
      "\(number) 1 0:40 / \(point) rw - fuse.waysfs waysfs:x rw,user_id=\(user),group_id=0"
    }
    var asked = 0
    var context = context
    context.uid = 0
    var survey = MountSurvey(context: context) { _ throws(Failure) in
      asked += 1
      throw Failure("no answer")
    }
    survey.directories = { owner, _ in owner == user ? [folder] : [] }
    survey.readTable = { MountTable(parsing: lines.joined(separator: "\n")) }
    let found = try survey.all()
    #expect(found.count == 10 && found.allSatisfy { $0.state == .silent && $0.problem != nil })
    #expect(asked == 3)
  }

  @Test func aMountThatEndsWhileItIsAskedIsNotSilent() throws {
    let record = try record()
    let found = try survey { _ throws(Failure) in
      record.finish()
      throw Failure("its process has ended the conversation")
    }.all()
    #expect(found.isEmpty)
  }

  /// The record comes first, since the socket's name is this process's only under its lock.
  @Test func theSocketMayComeAMomentLater() throws {
    let record = try record()
    defer { record.finish() }
    let folder = "\(directory.path)/waysfs"
    let answer = Mutex<[UInt8]?>(nil)
    let done = Gateway()
    let thread = Thread.start(name: "asks") {
      let told = try? ForeignRecord.all(in: folder).first?.ask(.logLevel(nil), patience: 60)
      answer.withLock { $0 = told }
      done.open()
    }
    thread?.detach()
    let path = ControlSocket.path(forMountPoint: "/nowhere/x", in: folder)
    let server = try ControlServer(path: path) { _ in .ok([7]) }
    #expect(server.start())
    defer { server.stop() }
    done.waitUntilOpen()
    #expect(answer.withLock { $0 } == [7])
  }

  @Test func nothingIsMountedThere() {
    #expect(throws: Failure.self) { try MountSurvey(context: context).one("/nowhere-at-all") }
    #expect(throws: Failure.self) { try MountSurvey(context: context).one("/proc") }
  }
}
