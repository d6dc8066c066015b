import Testing

@testable import waysfs

struct HelperCallTests {
  private static func mount(
    _ source: String, _ directory: String, _ options: [String] = [], _ change: (inout HelperCall) -> Void = { _ in }
  ) -> HelperCall {
    var call = HelperCall(action: .mount(source: source), directory: directory, options: options)
    change(&call)
    return call
  }

  static let understood: [([String], HelperCall)] = [
    (["/sbin/mount.waysfs", "photos", "/mnt"], mount("photos", "/mnt")),
    // mount(8): helper source target -s -f -n -v -o options -t type -N namespace.
    (
      ["/sbin/mount.waysfs", "photos:a b", "/mnt", "-s", "-f", "-n", "-v", "-o", "rw,_netdev", "-N", "/proc/7/fd/3"],
      mount("photos:a b", "/mnt", ["rw,_netdev"]) {
        $0.isSloppy = true
        $0.isFake = true
        $0.isVerbose = true
        $0.namespace = "/proc/7/fd/3"
      }
    ),
    // systemd puts -n first, people put anything anywhere.
    (["mount.waysfs", "-n", "photos", "-o", "ro", "/mnt", "-o", "uid=1"], mount("photos", "/mnt", ["ro", "uid=1"])),
    (
      ["mount.waysfs", "-snv", "photos", "/mnt", "-oro,x=1"],
      mount("photos", "/mnt", ["ro,x=1"]) {
        $0.isSloppy = true
        $0.isVerbose = true
      }
    ),
    (["mount.waysfs", "photos", "/mnt", "-r"], mount("photos", "/mnt", ["ro"])),
    (["mount.waysfs", "photos", "/mnt", "-w"], mount("photos", "/mnt", ["rw"])),
    (["mount.waysfs", "--", "-odd", "-mnt"], mount("-odd", "-mnt")),
    (["/sbin/mount.fuse.waysfs", "photos", "/mnt", "-t", "fuse.waysfs"], mount("photos", "/mnt")),
    (["mount.waysfs", "photos", "/mnt", "-t", "waysfs"], mount("photos", "/mnt")),
    (["mount.waysfs", "-V"], HelperCall(action: .showVersion)),
    (["mount.waysfs", "photos", "/mnt", "-h"], HelperCall(action: .showHelp)),
    (["umount.fuse.waysfs", "/mnt"], HelperCall(action: .unmount, directory: "/mnt")),
    (
      ["/sbin/umount.waysfs", "/mnt", "-n", "-l", "-f", "-v", "-r", "-t", "fuse.waysfs"],
      HelperCall(
        action: .unmount, directory: "/mnt", isForced: true, isLazy: true, makesReadOnly: true, isVerbose: true)
    ),
    // What mount.fuse3 makes of a line of fstab.
    (
      ["waysfs", "photos", "/mnt", "-o", "rw,allow_other,dev,suid"], mount("photos", "/mnt", ["rw,allow_other"])
    ),
    (["/usr/bin/waysfs", "config", "/mnt", "-o", "nodev,nosuid"], mount("config", "/mnt", ["nodev,nosuid"])),
  ]

  @Test(arguments: understood)
  func understands(_ arguments: [String], _ call: HelperCall) throws {
    #expect(try HelperCall(arguments) == call)
  }

  static let refused: [([String], String)] = [
    (["mount.waysfs"], "a source and a directory are needed"),
    (["mount.waysfs", "photos"], "a source and a directory are needed"),
    (["mount.waysfs", "photos", "/mnt", "/mnt2"], "'/mnt2' is one argument too many"),
    (["mount.waysfs", "photos", "/mnt", "-o"], "-o needs a value"),
    (["mount.waysfs", "photos", "/mnt", "-x"], "unknown option -x"),
    (["mount.waysfs", "photos", "/mnt", "-l"], "unknown option -l"),
    (["mount.waysfs", "photos", "/mnt", "-t", "nfs"], "-t nfs is another kind of file system"),
    (["umount.fuse.waysfs"], "a directory is needed"),
    (["umount.fuse.waysfs", "/a", "/b"], "'/b' is one argument too many"),
    (["umount.fuse.waysfs", "/a", "-o", "x"], "unknown option -o"),
    (["umount.fuse.waysfs", "/a", "-s"], "unknown option -s"),
  ]

  @Test(arguments: refused)
  func refuses(_ arguments: [String], _ message: String) {
    #expect(throws: UsageError(message)) { try HelperCall(arguments) }
  }

  static let commands: [[String]] = [
    ["waysfs"], ["waysfs", "mount", "photos", "/mnt"], ["waysfs", "mount", "photos", "/mnt", "-o", "ro"],
    ["waysfs", "doctor", "photos", "-o", "ro"], ["waysfs", "photos", "relative", "-o", "ro"],
    ["waysfs", "mount", "/mnt", "-o", "ro"], ["waysfs", "umount", "/mnt", "-o", "x"],
    ["waysfs", "photos", "/mnt"], ["/tmp/mount.waysfs.old", "photos", "/mnt"], [],
  ]

  @Test(arguments: commands)
  func commandsAreNoCallOfMount(_ arguments: [String]) throws {
    #expect(try HelperCall(arguments) == nil)
  }

  static let additions: [(String, String)] = [
    ("rw,dev,suid", "rw"), ("dev,suid", ""), ("nodev,suid", "nodev"), ("nosuid,dev", "nosuid"), ("suid", ""),
    ("rw,suid,dev,suid", "rw,suid"), ("dev,rw", "dev,rw"), ("x-dev,suid", "x-dev"), ("nodev,nosuid", "nodev,nosuid"),
  ]

  @Test(arguments: additions)
  func whatMountFuseAddsIsNotAskedFor(_ given: String, _ meant: String) {
    #expect(HelperCall.withoutAdditions(given) == meant)
  }

  @Test func statusesAreThoseOfTheManualPage() {
    #expect(HelperStatus(.success).rawValue == 0 && HelperStatus(.usage).rawValue == 1)
    #expect(HelperStatus(.failed).rawValue == 32 && HelperStatus(.unfinishedUploads).rawValue == 64)
  }
}

struct HelperOptionsTests {
  /// What is given, and what `waysfs mount -o` gets of it.
  static let grammar: [(String, String?)] = [
    ("", nil), ("defaults", nil), ("rw", "rw"), ("ro", "ro"),
    ("_netdev,nofail,auto,noauto,user,users,nouser,owner,group", nil), ("user=alice", nil),
    ("dev,nodev,suid,nosuid,exec,noexec,atime,noatime", "dev,nodev,suid,nosuid,exec,noexec,atime,noatime"),
    ("async,sync,dirsync,relatime,norelatime,strictatime,lazytime,diratime,nodiratime,silent,loud", nil),
    ("x-systemd.automount,x-systemd.idle-timeout=60,X-mount.mkdir=0755,x-gvfs-show", nil),
    ("comment=\"a,b\",comment=systemd.mount", nil),
    ("profile=work,uid=1000,allow_other", "profile=work,uid=1000,allow-other"),
    ("cache_dir=/a,cache-limit=1G", "cache-dir=/a,cache-limit=1G"),
    ("log-file=\"/a,b\"", "log-file=/a\\,b"), ("log_file=/a\\,b", "log-file=/a\\,b"),
    ("log-file=/say\\\"x\\\\y", "log-file=/say\\\"x\\\\y"), ("a=,b", "a=,b"), ("ro,,uid=5,", "ro,uid=5"),
    ("subtype=waysfs", nil), ("subtype=other", "subtype=other"), ("no_such", "no-such"),
  ]

  @Test(arguments: grammar)
  func sorts(_ text: String, _ list: String?) throws {
    let options = try HelperOptions([text])
    #expect(options.list == list)
    #expect(!options.isRemount && options.setUser == nil)
    // What is handed on is read as the same.
    #expect(try OptionList(parsing: options.list ?? "").items == options.items)
  }

  @Test func whatTheHelperDoesItself() throws {
    let options = try HelperOptions(["remount,ro", "setuid=alice,user_id=0,max_read=4,default_permissions"])
    #expect(options.isRemount && options.setUser == "alice")
    #expect(options.list == "ro")
    #expect(throws: UsageError.self) { try HelperOptions(["setuid"]) }
    #expect(throws: UsageError.self) { try HelperOptions(["drop_privileges"]) }
    #expect(throws: UsageError.self) { try HelperOptions(["comment=\"a"]) }
  }

  @Test func unknownOnesAreLeftOutOnlyWhenSloppy() throws {
    #expect(try HelperOptions(["ro,no_such=1,uid=5"], isSloppy: true).list == "ro,uid=5")
    let list = try HelperOptions(["ro,no_such=1,uid=5"]).list
    #expect(throws: UsageError("-o: unknown option 'no-such'")) { try OptionLayer(optionLists: [list ?? ""]) }
    let near = try HelperOptions(["allow_othre"]).list
    #expect(throws: UsageError("-o: unknown option 'allow-othre'; did you mean 'allow-other'?")) {
      try OptionLayer(optionLists: [near ?? ""])
    }
  }

  /// `foreground` would keep mount(8) waiting for ever.
  @Test func whatIsNotForFstabIsRefused() {
    #expect(throws: UsageError("--foreground cannot be given with -o")) { try OptionLayer(optionLists: ["foreground"]) }
  }
}
