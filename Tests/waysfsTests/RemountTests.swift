import FuseSession
import Testing

@testable import waysfs

struct RemountTests {
  private static func mounted(_ options: String) throws -> MountTableEntry {
    let line = "50 20 0:40 / /mnt \(options) - fuse.waysfs waysfs:photos rw,user_id=0,group_id=0"
    return try #require(MountTable(parsing: line).entries.first)
  }

  private static func record(_ options: String? = "", journal: String? = "/c/photos-1-0") -> RecordContents {
    var record = RecordContents(pid: 1, source: "waysfs:photos", mountPoint: "/mnt")
    record.options = options
    record.journal = journal
    return record
  }

  private static func flags(
    _ asked: String, _ mounted: String = "rw,nosuid,nodev,relatime", _ record: RecordContents = record()
  ) throws -> UInt {
    try Remount.flags(HelperOptions([asked]), Self.mounted(mounted), record)
  }

  /// What is asked for, what is there, the flags of mount(2).
  static let changes: [(String, String, UInt)] = [
    ("remount,ro", "rw,nosuid,nodev,relatime", 1 | 2 | 4 | 1 << 21),
    ("remount,rw", "ro,nosuid,nodev,relatime", 2 | 4 | 1 << 21),
    ("remount", "ro,nosuid,nodev,relatime", 1 | 2 | 4 | 1 << 21),
    ("remount,noexec", "rw,nosuid,nodev,relatime", 2 | 4 | 8 | 1 << 21),
    ("remount,suid,dev,exec", "rw,nosuid,nodev,noexec,relatime", 1 << 21),
    ("remount,noatime", "rw,nosuid,nodev,relatime", 2 | 4 | 1 << 10 | 1 << 21),
    ("remount,atime", "rw,nosuid,nodev,noatime", 2 | 4 | 1 << 21),
    ("remount,nosymfollow", "rw,nosuid,nodev,relatime", 2 | 4 | 256 | 1 << 21),
    ("remount,symfollow", "rw,nosymfollow,relatime", 1 << 21),
    // What the mount has stays, also what the table has no word for.
    ("remount,ro,nosymfollow,noatime", "rw,nosymfollow,nodiratime,noatime", 1 | 256 | 1 << 10 | 1 << 11),
    // mount(8) leaves out what is off: `remount,exec,symfollow,atime` comes as this.
    ("remount,rw", "rw,nosuid,noexec,nosymfollow,noatime", 2 | 1 << 21),
    ("remount,ro", "rw,nosuid", 1 | 2 | 1 << 24),
    // What mount(8) reads from the mount table.
    ("remount,ro,nosuid,nodev,relatime,user_id=0,default_permissions", "rw,nosuid,nodev,relatime", 2_097_159),
  ]

  @Test(arguments: changes)
  func keepsWhatIsNotChanged(_ asked: String, _ mounted: String, _ flags: UInt) throws {
    #expect(try Self.flags(asked, mounted) == flags)
  }

  /// mount(8) hands over the whole line of fstab.
  @Test func whatItWasMountedWithIsNoChange() throws {
    let record = Self.record("allowOther=yes,profile=work,uid=1000")
    #expect(
      try Self.flags("remount,ro,_netdev,profile=work,uid=1000,allow_other", "rw,relatime", record) == 1 | 1 << 21)
    #expect(try Self.flags("remount,ro,uid=5", "rw,relatime", Self.record(nil)) == 1 | 1 << 21)
  }

  /// A profile has allow-other, and mount(8) reads it out of the mount table when there is no line of fstab; or the line
  /// has in other words what was so anyway.
  @Test func howItWasSaidDoesNotMatter() throws {
    var profile = OptionLayer(.profile)
    try profile.set(.allowOther, to: "yes", spelledAs: "allow-other")
    try profile.set(.umask, to: "0077", spelledAs: "umask")
    var keys = OptionLayer(.awsProfile)
    try keys.set(.region, to: "x", spelledAs: "region of the AWS profile")
    let record = Self.record(OptionList.text([OptionLayer(.flag), profile, keys]))
    #expect(record.options == "allowOther=yes,umask=0077")
    #expect(try Self.flags("remount,ro,allow_other,default_permissions,umask=77", "rw", record) & 1 == 1)
    #expect(try Self.flags("remount,ro,metadata_ttl=10s,uid=0,allow_other=yes", "rw", record) & 1 == 1)
    for changed in ["umask=027", "region=x", "profile=work", "all"] {
      #expect(throws: Failure.self) { try Self.flags("remount,ro,\(changed)", "rw", record) }
    }
  }

  @Test func aRecordOfALaterVersionIsRead() throws {
    let layer = try OptionLayer(recorded: "allowOther=yes,somethingNew=1,uid=5")
    #expect(layer.values.mapValues(\.text) == [.allowOther: "yes", .uid: "5"])
  }

  static let impossible: [(String, String)] = [
    ("remount,uid=5", "-o uid cannot be changed while it is mounted"),
    ("remount,uid=5,ro", "-o uid cannot be changed while it is mounted"),
    ("remount,cache_dir=/x", "-o cache-dir cannot be changed while it is mounted"),
    ("remount,no_such", "-o: unknown option 'no-such'"),
  ]

  @Test(arguments: impossible)
  func refusesWhatNeedsANewMount(_ asked: String, _ reason: String) {
    #expect(throws: Failure(reason, remedy: "Unmount it and mount it again", exitCode: .usage)) {
      try Self.flags(asked, "rw", Self.record("uid=1000"))
    }
  }

  @Test func whatWasMountedReadOnlyStaysSo() {
    #expect(throws: Failure.self) { try Self.flags("remount,rw", "ro", Self.record(journal: nil)) }
    #expect(throws: Never.self) { try Self.flags("remount,ro", "ro", Self.record(journal: nil)) }
  }

  @Test func theRecordSaysWhatWasSaid() throws {
    var flags = OptionLayer(.flag)
    try flags.set(.uid, to: "1", spelledAs: "--uid")
    let list = try OptionLayer(optionLists: ["uid=2,cache-dir=\"/a,b\",ro"])
    var environment = OptionLayer(.environment)
    try environment.set(.region, to: "x", spelledAs: "AWS_REGION")
    let text = OptionList.text([flags, list, environment])
    #expect(text == "cacheDirectory=/a\\,b,readOnly=yes,region=x,uid=1")
    var contents = Self.record(text)
    contents = try #require(RecordContents(parsing: contents.text))
    #expect(contents.options == text)
  }
}
