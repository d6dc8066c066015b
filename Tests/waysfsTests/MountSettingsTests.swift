import ArgumentParser
import Testing

@testable import waysfs

struct MountSettingsTests {
  static let context = ProcessContext(
    uid: 1000, gid: 100, workingDirectory: "/home/u/here", environment: ["HOME": "/home/u"])

  static func settings(
    _ arguments: [String] = [], environment: [String: String] = [:], extra: [OptionLayer] = [],
    context: ProcessContext = context
  ) throws -> MountSettings {
    let command = try #require(try Waysfs.parseAsRoot(["mount", "photos", "/mnt"] + arguments) as? MountCommand)
    let layers = [
      try command.flags.layer(), try OptionLayer(optionLists: command.flags.optionLists),
      try OptionLayer(environment: environment),
    ]
    return try MountSettings(
      target: .bucket(BucketReference(parsing: "photos")), mountPoint: "/mnt", layers: layers + extra, context: context)
  }

  @Test func defaults() throws {
    let settings = try Self.settings()
    #expect(settings.endpoint.description == "https://storage.wayscloud.services")
    #expect(settings.region == "eu-north-1")
    #expect(settings.addressing == .path)
    #expect(!settings.readOnly && !settings.foreground && !settings.allowOther)
    #expect(settings.cacheDirectory == "/home/u/.cache/waysfs")
    #expect(settings.uid == 1000 && settings.gid == 100)
    #expect(settings.fileMode == 0o644 && settings.directoryMode == 0o755)
    #expect(settings.kernelFlags == [.noDevices, .noSetUserID])
    #expect(settings.logLevel == .info && settings.logFile == nil && settings.caFile == nil)
  }

  @Test func precedence() throws {
    let environment = ["AWS_REGION": "from-env", "AWS_ENDPOINT_URL": "http://env"]
    var profile = OptionLayer(.awsProfile)
    try profile.set(.region, to: "from-profile", spelledAs: "p")
    var plane = OptionLayer(.controlPlane)
    try plane.set(.region, to: "from-plane", spelledAs: "c")
    let flag = ["--region", "from-flag"]
    let list = ["-o", "region=from-list"]
    #expect(try Self.settings(flag + list, environment: environment, extra: [profile]).region == "from-flag")
    #expect(try Self.settings(list, environment: environment, extra: [profile]).region == "from-list")
    #expect(try Self.settings(environment: environment, extra: [profile]).region == "from-env")
    #expect(try Self.settings(extra: [profile, plane]).region == "from-profile")
    #expect(try Self.settings(extra: [plane]).region == "from-plane")
  }

  @Test func addressingIsOneOptionWithTwoNames() throws {
    #expect(try Self.settings(["--path-style", "-o", "virtual_host"]).addressing == .path)
    #expect(try Self.settings(["--virtual-host"]).addressing == .virtual)
    #expect(throws: UsageError.self) { try Self.settings(["--path-style", "--virtual-host"]) }
  }

  @Test func passthroughIsForReadersAlone() throws {
    #expect(try !Self.settings().passesThrough)
    #expect(try Self.settings(["--read-only"]).passesThrough)
    #expect(try !Self.settings(["--read-only", "--passthrough", "never"]).passesThrough)
    #expect(try Self.settings(["-o", "passthrough=always"]).passesThrough)
    #expect(throws: UsageError.self) { try Self.settings(["--passthrough", "maybe"]) }
  }

  @Test func readOnlyFlagBeatsTheList() throws {
    #expect(try Self.settings(["--read-only", "-o", "rw"]).readOnly)
    #expect(try Self.settings(["-o", "ro"]).readOnly)
  }

  @Test func modes() throws {
    let masked = try Self.settings(["--umask", "077"])
    #expect(masked.fileMode == 0o600 && masked.directoryMode == 0o700)
    let given = try Self.settings(["--umask", "077", "--file-mode", "0640", "-o", "dir_mode=750"])
    #expect(given.fileMode == 0o640 && given.directoryMode == 0o750)
  }

  @Test func readsAreKeptWhereTheUserSays() throws {
    #expect(try !Self.settings().keepsReads)
    let given = try Self.settings(["--cache-dir", "/srv/cache"])
    #expect(given.keepsReads)
    #expect(given.cacheLimit == nil)
    let limited = try Self.settings(["--cache-dir", "/srv/cache", "--cache-limit", "20G"])
    #expect(limited.keepsReads)
    #expect(limited.cacheLimit == 20 << 30)
    #expect(try !Self.settings(["--cache-dir", "/srv/cache", "--cache-limit", "0"]).keepsReads)
    #expect(try !Self.settings(["--cache-limit", "0"]).keepsReads)
    #expect(throws: UsageError.self) { try Self.settings(["--cache-limit", "20G"]) }
    #expect(throws: UsageError.self) { try Self.settings(["--cache-dir", "/srv/cache", "--cache-limit", "1M"]) }
  }

  @Test func writeModeAndJournalLimit() throws {
    #expect(try Self.settings().writeMode == .close)
    #expect(try Self.settings().journalLimit == nil)
    let given = try Self.settings(["--write-mode", "writeback", "-o", "journal_limit=20G"])
    #expect(given.writeMode == .writeback)
    #expect(given.journalLimit == 20 << 30)
    #expect(try Self.settings(["-o", "write-mode=writeback", "--write-mode", "close"]).writeMode == .close)
  }

  @Test func pathsBecomeAbsolute() throws {
    let settings = try Self.settings(["--cache-dir", "c", "--log-file", "l", "--ca-file", "/x.pem"])
    #expect(settings.cacheDirectory == "/home/u/here/c")
    #expect(settings.logFile == "/home/u/here/l")
    #expect(settings.caFile == "/x.pem")
  }

  @Test func cacheDirectories() throws {
    var root = Self.context
    root.uid = 0
    #expect(try Self.settings(context: root).cacheDirectory == "/var/cache/waysfs")
    var xdg = Self.context
    xdg.environment["XDG_CACHE_HOME"] = "/c"
    #expect(try Self.settings(context: xdg).cacheDirectory == "/c/waysfs")
    var homeless = Self.context
    homeless.environment = [:]
    #expect(try Self.settings(context: homeless).cacheDirectory == "/var/tmp/waysfs-1000")
  }

  @Test func kernelFlags() throws {
    #expect(try Self.settings(["-o", "suid,noatime"]).kernelFlags == [.noDevices, .noAccessTime])
  }

  static let wrong: [([String], String)] = [
    (["--umask", "999"], "--umask: '999'"), (["-o", "uid=x"], "-o uid: 'x'"),
    (["--log-level", "verbos"], "--log-level"),
    (["--log-level", "warnin"], "did you mean 'warning'?"), (["--memory-limit", "1K"], "too small"),
    (["--write-mode", "back"], "--write-mode: 'back' is neither close nor writeback"),
    (["-o", "journal_limit=1M"], "-o journal-limit: '1M' is too small"),
    (["--connections", "0"], "--connections"), (["--region", "a b"], "--region"),
    (["--mount-timeout", "0"], "too short"),
    (["--endpoint", "h"], "--endpoint"),
    (["--bucket-tier", "gold"], "--bucket-tier: 'gold' is neither standard nor enterprise"),
  ]

  @Test(arguments: wrong)
  func errorsNameTheOption(_ arguments: [String], _ part: String) throws {
    let error = try #require(throws: UsageError.self) { try Self.settings(arguments) }
    #expect(error.message.contains(part), "\(error.message)")
  }

  @Test func bucketsOfAnAccount() throws {
    let defaults = try Self.settings()
    #expect(!defaults.allowsBucketChanges && defaults.bucketTier == .standard)
    let settings = try Self.settings(["-o", "allow_bucket_changes,bucket_tier=enterprise"])
    #expect(settings.allowsBucketChanges && settings.bucketTier == .enterprise)
  }

  private func target(_ bucket: String?, _ options: [String], mountPoint: String? = "/mnt") throws -> MountTarget {
    let command = try #require(try Waysfs.parseAsRoot(["mount", "x", "/mnt"] + options) as? MountCommand)
    let request = MountRequest(bucket: bucket, mountPoint: mountPoint, flags: command.flags)
    return try request.target(try request.layers(Self.context))
  }

  @Test func whatIsMounted() throws {
    #expect(try target("photos:a", []) == .bucket(BucketReference(parsing: "photos:a")))
    for options in [["--all"], ["-o", "all"], ["-o", "ro,all=yes"]] {
      // In fstab something must stand there.
      for name in [nil, "*", "none", "waysfs:*"] { #expect(try target(name, options) == .account) }
      for name in ["photos", "photos:a", ""] {
        let error = try #require(throws: UsageError.self) { try target(name, options) }
        #expect(error.message.contains("--all"))
      }
    }
    #expect(try target("photos", ["-o", "all=no"]).bucket?.bucket == "photos")
    // A command about a bucket means that one.
    #expect(try target("photos", ["--all"], mountPoint: nil).bucket?.bucket == "photos")
    #expect(throws: UsageError.self) { try target(nil, []) }
    #expect(throws: UsageError.self) { try target("*", []) }
    #expect(MountTarget.account.source == "waysfs:*")
  }

  @Test func aNameCountsForMoreThanAProfile() throws {
    var profile = OptionLayer(.profile)
    try profile.set(.allBuckets, to: "yes", spelledAs: "all")
    let command = try #require(try Waysfs.parseAsRoot(["mount", "x", "/mnt"]) as? MountCommand)
    func target(_ bucket: String?) throws -> MountTarget {
      let request = MountRequest(bucket: bucket, mountPoint: "/mnt", flags: command.flags)
      return try request.target(try request.layers(Self.context) + [profile])
    }
    #expect(try target("photos").bucket?.bucket == "photos")
    #expect(try target(nil) == .account && target("*") == .account)
  }

  @Test func whatWouldDoNothingIsAnError() throws {
    func check(_ options: [String]) throws {
      let command = try #require(try Waysfs.parseAsRoot(["mount", "x", "/mnt"] + options) as? MountCommand)
      let request = MountRequest(bucket: nil, mountPoint: "/mnt", flags: command.flags)
      let layers = try request.layers(Self.context)
      let isAll = try MountSettings.mountsAll(layers: layers)
      let target = isAll ? MountTarget.account : .bucket(try BucketReference(parsing: "photos"))
      try request.check(target, layers)
    }
    for options in [["--allow-bucket-changes"], ["-o", "bucket_tier=standard"]] {
      let error = try #require(throws: UsageError.self) { try check(options) }
      #expect(error.message.contains("--all"))
      try check(options + ["--all"])
    }
  }

  @Test func errorsNameTheVariable() throws {
    let error = try #require(throws: UsageError.self) {
      try Self.settings(environment: ["AWS_ENDPOINT_URL": "nowhere"])
    }
    #expect(error.message.hasPrefix("AWS_ENDPOINT_URL: "))
  }

  /// A spelling in the table that no flag reads, or a flag that is not in the table, would be found here.
  @Test func everySpellingIsAFlag() throws {
    for spelling in OptionSpelling.all {
      let arguments: [String]
      switch spelling.argument {
      case .none: arguments = ["--\(spelling.name)"]
      case .value: arguments = ["--\(spelling.name)", "value"]
      }
      let command = try #require(try Waysfs.parseAsRoot(["mount", "b", "m"] + arguments) as? MountCommand)
      let layer = try command.flags.layer()
      #expect(layer.values.count == 1, "\(spelling.name)")
      #expect(layer.values[spelling.sets]?.spelledAs == "--\(spelling.name)")
    }
    #expect(Set(OptionSpelling.all.map(\.sets)) == Set(MountOption.allCases))
    #expect(Set(OptionSpelling.all.map(\.name)).count == OptionSpelling.all.count)
    let generic = Set(GenericOption.all.map(\.name))
    #expect(generic.isDisjoint(with: OptionSpelling.all.map(\.name)))
  }
}
