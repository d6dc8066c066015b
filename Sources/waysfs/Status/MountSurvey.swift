import FuseSession
import Glibc

/// A mount as seen from outside.
struct MountFinding: Hashable, Sendable {
  enum State: String, CaseIterable, Encodable, Hashable, Sendable {
    /// Its process is about to mount it: it connects, or sends what an earlier mount has left.
    case starting
    /// It works.
    case serving
    /// It is unmounted; its process finishes the uploads.
    case finishing
    /// It is mounted, and its process has died: every access fails.
    case dead
    /// Its process lives, and does not answer.
    case silent
    /// It is mounted, and nobody can tell how it does.
    case unknown
  }

  var mountPoint: String
  var source: String
  var state: State
  var pid: Int32?
  /// What is wrong; nil as long as nothing is.
  var problem: String?
  /// What it says of itself; nil when it does not answer.
  var status: MountStatus?

  /// Compared by bytes, as the kernel does.
  func isAt(_ path: String) -> Bool { mountPoint.utf8.elementsEqual(path.utf8) }

  /// Whether somebody should look after it.
  var needsAttention: Bool {
    switch state {
    case .dead, .silent: true
    case .starting, .serving, .finishing, .unknown: (status?.report?.failedFiles ?? 0) > 0
    }
  }
}

extension MountFinding.State {
  /// What a process says of itself.
  init(_ phase: MountPhase) {
    switch phase {
    case .starting: self = .starting
    case .serving: self = .serving
    case .finishing: self = .finishing
    }
  }
}

extension MountFinding: Encodable {
  private enum CodingKeys: String, CodingKey {
    case mountPoint, source, state, pid, problem
  }

  /// What it says of itself stands beside what is seen.
  func encode(to encoder: any Encoder) throws {
    try status?.encode(to: encoder)
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(mountPoint, forKey: .mountPoint)
    try values.encode(source, forKey: .source)
    try values.encode(state, forKey: .state)
    try values.encodeIfPresent(pid, forKey: .pid)
    try values.encodeIfPresent(problem, forKey: .problem)
  }
}

/// Looks for mounts and asks them, without touching what is mounted: that could hang.
struct MountSurvey {
  let context: ProcessContext
  /// Asks the process of a record that is alive.
  var ask: (ForeignRecord) throws(Failure) -> MountStatus = Self.askProcess
  /// Where the records of a user may be.
  var directories: (_ user: UInt32, ProcessContext) -> [String] = Self.directories(of:_:)
  /// Reads the table of mounts.
  var readTable: () throws(Failure) -> MountTable = { () throws(Failure) in try MountTable.read() }

  /// How many of another user's processes are waited for that do not answer: a user may have a thousand of them.
  private static let mostSilent = 3

  /// All mounts of this user; for root those of all users that are mounted.
  func all() throws(Failure) -> [MountFinding] {
    let mounts = try readTable().entries.filter { entry in
      entry.isWaysfs && (context.uid == 0 || entry.userID == context.uid)
    }
    var findings: [MountFinding] = []
    for user in Set([context.uid] + mounts.compactMap(\.userID)).sorted() {
      var silent = 0
      for record in directories(user, context).flatMap({ ForeignRecord.all(in: $0) }) {
        let mount = mounts.last { $0.mountpoint.utf8.elementsEqual(record.contents.mountPoint.utf8) }
        // Who answers for somebody else's mount is not believed, and nobody else's process is asked without a mount.
        guard mount.map({ $0.userID == user }) ?? (user == context.uid),
          !findings.contains(where: { $0.isAt(record.contents.mountPoint) })
        else { continue }
        let isAsked = user == context.uid || silent < Self.mostSilent
        guard let finding = finding(record, mount, of: user, isAsked: isAsked) else { continue }
        if finding.state == .silent { silent += 1 }
        findings.append(finding)
      }
    }
    for mount in mounts where !findings.contains(where: { $0.isAt(mount.mountpoint) }) && Self.isThere(mount) {
      findings.append(Self.stranger(mount))
    }
    return findings.sorted { $0.mountPoint < $1.mountPoint }
  }

  /// One mount, or one whose process finishes its uploads.
  func one(_ path: String) throws(Failure) -> MountFinding {
    let (record, mount) = try find(path)
    guard let record else {
      guard let mount, Self.isThere(mount) else { throw Self.nothing }
      return Self.stranger(mount)
    }
    guard let finding = finding(record, mount, of: mount?.userID ?? context.uid) else { throw Self.nothing }
    return finding
  }

  /// The record of a mount; throws when nothing is mounted there.
  func record(_ path: String) throws(Failure) -> ForeignRecord {
    guard let record = try find(path).record, record.isHeld else {
      throw Failure("its process cannot be found", remedy: "'waysfs status' shows how the mounts do")
    }
    return record
  }

  private func find(_ path: String) throws(Failure) -> (record: ForeignRecord?, mount: MountTableEntry?) {
    let mounts = try MountTable.read()
    let resolved = try MountPath.resolve(path, workingDirectory: context.workingDirectory, mounts: mounts)
    let mount = mounts.top(at: resolved)
    if let mount, !mount.isWaysfs { throw Failure("this is not a waysfs mount but \(mount.type) (\(mount.source))") }
    let users = [mount?.userID, context.uid].compactMap(\.self)
    let record = ForeignRecord(mountPoint: resolved, directories: users.flatMap { directories($0, context) })
    guard record != nil || mount != nil else { throw Self.nothing }
    return (record, mount)
  }

  private static let nothing = Failure("nothing is mounted there", remedy: "'waysfs status' lists the mounts")

  /// Where the records of a user may be, as far as nobody else can write there.
  private static func directories(of user: UInt32, _ context: ProcessContext) -> [String] {
    let own = user == context.uid ? context.recordDirectories : []
    let all = own + RuntimeDirectory.candidates(uid: user, environment: [:]).filter { !own.contains($0) }
    return all.filter { RuntimeDirectory.problem(with: $0, uid: user) == nil }
  }

  /// Nil for a record that its process has left behind; it is removed, but nothing in directories of others.
  private func finding(
    _ record: ForeignRecord, _ mount: MountTableEntry?, of user: UInt32, isAsked: Bool = true
  ) -> MountFinding? {
    let contents = record.contents
    var finding = MountFinding(
      mountPoint: contents.mountPoint, source: contents.source, state: .serving, pid: contents.pid)
    if record.isHeld {
      do throws(Failure) {
        guard isAsked else { throw Failure("its process is not asked, since others of user \(user) do not answer") }
        let status = try ask(record)
        finding.status = status
        finding.state = .init(status.phase)
        return finding
      } catch {
        finding.state = .silent
        finding.problem = error.description
      }
      // It may have ended meanwhile, or be about to: its socket goes a moment before its record does.
      if isAsked { for _ in 0..<20 where record.isHeld { sleepInterval(seconds: 0.05) } }
      if record.isHeld { return finding }
    }
    // In good order, unless its mount is still there.
    guard let mount, Self.isThere(mount) else {
      if user == context.uid { record.removeIfAbandoned() }
      return nil
    }
    finding.state = .dead
    finding.problem =
      "its process has died; 'waysfs umount \(contents.mountPoint)' removes it, and the next mount sends what is left"
    return finding
  }

  /// Whether it is mounted at this moment: the table was read before processes were asked, which may take seconds.
  private static func isThere(_ mount: MountTableEntry) -> Bool {
    (try? MountTable.current())?.entries.contains { $0.mountID == mount.mountID } == true
  }

  /// A mount whose record is not there, or not for us to read.
  private static func stranger(_ mount: MountTableEntry) -> MountFinding {
    MountFinding(
      mountPoint: mount.mountpoint, source: mount.source, state: .unknown,
      problem: "its process cannot be found" + (mount.userID.map { "; user \($0) has mounted it" } ?? ""))
  }

  private static func askProcess(_ record: ForeignRecord) throws(Failure) -> MountStatus {
    let bytes = try record.ask(.status)
    let status = try StatusJSON.decode(MountStatus.self, from: bytes).get()
    guard Plausibility.of(status) else { throw Failure("what its process answers makes no sense") }
    return status
  }
}

extension ForeignRecord {
  /// Asks the process that holds it.
  /// - Parameter patience: seconds that it has to make its socket, and then for its answer.
  func ask(_ request: ControlRequest, patience: Double = 3) throws(Failure) -> [UInt8] {
    var information = stat()
    guard lstat(directory, &information) == 0 else { throw Failure(describe(errno: errno)) }
    let path = ControlSocket.path(forMountPoint: contents.mountPoint, in: directory)
    // It comes a moment after the record, and goes a moment before it.
    let moment = 0.05
    for _ in 0..<Int(patience / moment) where access(path, F_OK) != 0 && isHeld { sleepInterval(seconds: moment) }
    return try ControlClient(patience: patience).ask(request, at: path, owner: information.st_uid)
  }
}
