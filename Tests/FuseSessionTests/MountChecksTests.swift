import Filesystem
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite(.serialized) struct MountChecksTests {
  private func failure(_ path: String, _ adjust: (inout MountOptions) -> Void = { _ in }) -> FuseSessionError? {
    var options = MountOptions(mountpoint: path, source: "x")
    adjust(&options)
    do throws(FuseSessionError) {
      let session = try FuseSession(options: options, operations: FakeFilesystem(), log: quietLog)
      try session.mount()
      return nil
    } catch { return error }
  }

  @Test func aMissingMountPoint() {
    let error = failure("/tmp/waysfs-no-such-directory")
    #expect(error?.code == .mountPointMissing)
    #expect(error?.message.contains("mkdir -p /tmp/waysfs-no-such-directory") == true)
    #expect(failure("/etc/passwd/x")?.code == .notADirectory)
  }

  @Test func aFileAsMountPoint() {
    #expect(failure("/etc/passwd")?.code == .notADirectory)
  }

  @Test func aMountPointWithEntries() throws {
    let path = try makeTemporaryDirectory()
    defer {
      unlink("\(path)/.hidden")
      rmdir(path)
    }
    try writeText("\(path)/.hidden", "")
    let error = failure(path)
    #expect(error?.code == .notEmpty)
    #expect(error?.message.contains("nonempty") == true)
    #expect(failure(path) { $0.allowNonEmpty = true } == nil)
    #expect(failure(path) { $0.fuseOptions = ["nonempty"] } == nil)
  }

  @Test func aMountThatIsThereAlready() throws {
    try withMount(FakeFilesystem()) { (mount) throws in
      let error = failure(mount.path)
      #expect(error?.code == .alreadyMounted)
      #expect(error?.message.contains("waysfs:test") == true)
    }
  }

  @Test func aMountWhoseProcessDied() throws {
    let path = try makeTemporaryDirectory()
    defer {
      umount2(path, Int32(MNT_DETACH))
      rmdir(path)
    }
    // Mounts by hand and closes the device: what a killed process leaves.
    let device = try openFile("/dev/fuse", O_RDWR)
    try check(mount("x", path, "fuse.x", 0, "fd=\(device.rawValue),rootmode=40000,user_id=0,group_id=0"))
    try device.close()
    let error = failure(path)
    #expect(error?.code == .staleMount)
    #expect(error?.message.contains("umount -l \(path)") == true)
  }

  @Test func unknownOptionsAreNamed() throws {
    let path = try makeTemporaryDirectory()
    defer { rmdir(path) }
    let error = failure(path) { $0.fuseOptions = ["no_such_option"] }
    #expect(error?.code == .badOption)
    #expect(error?.message.contains("no_such_option") == true)
  }

  @Test func aMissingDevice() {
    var checks = MountChecks(options: MountOptions(mountpoint: "/tmp", source: "x"))
    checks.device = "/dev/no-such-device"
    let error = #expect(throws: FuseSessionError.self) { try checks.run() }
    #expect(error?.code == .deviceMissing)
    #expect(error?.message.contains("modprobe fuse") == true)
  }

  @Test func aMissingHelper() {
    var checks = MountChecks(options: MountOptions(mountpoint: "/tmp", source: "x"))
    checks.userID = 1000
    checks.helper = "no-such-helper"
    let error = #expect(throws: FuseSessionError.self) { try checks.run() }
    #expect(error?.code == .helperMissing)
    checks.userID = 0
    checks.options.mountpoint = "/"
    #expect(#expect(throws: FuseSessionError.self) { try checks.run() }?.code == .notEmpty)
  }

  @Test(arguments: [
    ("", false), ("#user_allow_other\n", false), ("user_allow_other", true),
    ("mount_max = 5\n \tuser_allow_other \n", true),
    ("user_allow_others\n", false),
  ])
  func sharingAsAUser(configuration: String, allowed: Bool) throws {
    let path = try makeTemporaryDirectory()
    defer {
      unlink("\(path)/fuse.conf")
      rmdir(path)
    }
    try writeText("\(path)/fuse.conf", configuration)
    var checks = MountChecks(options: MountOptions(mountpoint: "/tmp", source: "x"))
    checks.userID = 1000
    checks.options.allowOther = true
    checks.configuration = "\(path)/fuse.conf"
    if allowed {
      try checks.checkUserRights()
    } else {
      let error = #expect(throws: FuseSessionError.self) { try checks.checkUserRights() }
      #expect(error?.code == .allowOtherForbidden)
      #expect(error?.message.contains("user_allow_other") == true)
    }
  }

  @Test func onlyRootCanForbidLinks() {
    var options = MountOptions(mountpoint: "/tmp", source: "x")
    options.fuseOptions = ["nosymfollow"]
    let error = #expect(throws: FuseSessionError.self) { try MountChecks(options: options, userID: 1000).run() }
    #expect(error?.code == .badOption)
    #expect(error?.message.contains("only root can mount with nosymfollow") == true)
  }

  @Test func libfuseSeesNoSeparatorInASource() {
    var options = MountOptions(mountpoint: "/m", source: "a,b\\c")
    options.readOnly = true
    options.allowOther = true
    options.fuseOptions = ["noatime", "nonempty", "nosymfollow"]
    #expect(
      options.libfuseArguments == [
        "-o", "default_permissions", "-o", "fsname=a\\,b\\\\c", "-o", "subtype=waysfs", "-o", "ro", "-o",
        "allow_other", "-o", "noatime",
      ])
  }
}

@Suite struct MountTableTests {
  @Test func isParsed() {
    let table = MountTable(
      parsing: """
        22 27 0:21 / /proc rw,nosuid shared:12 master:3 - proc proc rw
        36 35 98:0 /mnt1 /mnt/with\\040space\\134 rw,noatime - fuse.waysfs waysfs:b\\012 rw,user_id=0
        37 36 0:99 / /mnt/with\\040space\\134 rw - ext4 /dev/x rw
        not a line
        1 2 3
        38 35 0:1 / /a rw -
        """)
    #expect(table.entries.map(\.mountID) == [22, 36, 37])
    #expect(table.entries[1].mountpoint == "/mnt/with space\\")
    #expect(table.entries[1].source == "waysfs:b\n")
    #expect(table.entries[1].device == "98:0")
    #expect(table.top(at: "/mnt/with space\\")?.type == "ext4")
    #expect(table.top(at: "/proc")?.type == "proc")
    #expect(table.top(at: "/none") == nil)
  }

  @Test func filesAreFoundOnTheirMounts() {
    let table = MountTable(
      parsing: """
        1 0 8:1 / / rw - ext4 /dev/x rw
        2 1 0:300 / /mnt/a rw - fuse.waysfs waysfs:b rw
        3 2 0:301 / /mnt/a/sub rw - fuse.waysfs waysfs:c rw
        4 1 0:300 / /srv/bound rw - fuse.waysfs waysfs:b rw
        """)
    // 0:300 and 0:301 as makedev(3) puts them together.
    let (outer, inner): (UInt64, UInt64) = (0x10_002C, 0x10_002D)
    #expect(table.entry(holding: "/mnt/a/sub/file", device: inner)?.mountID == 3)
    #expect(table.entry(holding: "/mnt/a", device: outer)?.mountID == 2)
    #expect(table.entry(holding: "/mnt/a/other", device: outer)?.mountID == 2)
    #expect(table.entry(holding: "/srv/bound/x", device: outer)?.mountID == 4)
    #expect(table.entry(holding: "/mnt/abc", device: outer) == nil)
    #expect(table.entry(holding: "/etc/passwd", device: 0x801)?.mountID == 1)
    #expect(table.entry(holding: "/", device: 0x801)?.mountID == 1)
  }

  @Test func oddEscapesStayAsTheyAre() {
    let table = MountTable(parsing: "1 2 0:1 / /a\\9\\777\\04 rw - t s o")
    #expect(table.entries.first?.mountpoint == "/a\\9\\777\\04")
  }
}

@Suite struct ProgramTests {
  @Test func tellsStatusAndMessage() throws {
    let result = try runProgram(["sh", "-c", "echo one >&2; echo two >&2; exit 3"])
    #expect(result.status == 3)
    #expect(result.message == "one; two")
    #expect(try runProgram(["sh", "-c", "kill -9 $$"]).status == nil)
    #expect(try runProgram(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2"]).message.count == 4096)
  }

  @Test func tellsWhatIsMissing() {
    #expect(throws: Errno.noSuchFileOrDirectory) { try runProgram(["/no/such/program"]) }
  }
}
