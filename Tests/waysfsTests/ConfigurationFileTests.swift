import ArgumentParser
import Testing

@testable import waysfs

struct ConfigurationFileTests {
  private static let context = MountSettingsTests.context

  /// The layers of a profile, from files given by path.
  private func layers(
    _ files: [String: FileText], profile: String? = nil, path: String? = nil, context: ProcessContext = context
  ) throws -> [OptionLayer] {
    let found = try ConfigurationFiles(path, context: context) { files[$0] ?? .absent }
    return try found.layers(
      profile: profile.map { OptionLayer.Value(text: $0, spelledAs: "--profile") }, home: context.home)
  }

  private func value(_ option: MountOption, _ layers: [OptionLayer]) -> String? {
    layers.lazy.compactMap { $0.values[option]?.text }.first
  }

  @Test func readsProfiles() throws {
    let text = """
      \u{FEFF}# a comment
      ; another
      [default]
      region = r1
      metadata_ttl=5m
        log-file = "/a b "

      [archive]\r
      read-only = yes\r
      endpoint = https://e#x
      """
    let plain = try layers(["/etc/waysfs/config": .text(text)])
    #expect(value(.region, plain) == "r1" && value(.metadataLifetime, plain) == "5m")
    #expect(value(.logFile, plain) == "/a b " && value(.readOnly, plain) == nil)
    let archive = try layers(["/etc/waysfs/config": .text(text)], profile: "archive")
    #expect(value(.readOnly, archive) == "yes" && value(.region, archive) == "r1")
    #expect(value(.endpoint, archive) == "https://e#x")
    #expect(archive[0].values[.readOnly]?.spelledAs == "read-only in /etc/waysfs/config [archive]")
    #expect(archive.allSatisfy { $0.origin == .profile })
  }

  @Test func theUsersFileComesBeforeTheMachines() throws {
    let files: [String: FileText] = [
      "/home/u/.config/waysfs/config": .text("[default]\nregion = user\n[work]\nuid = 1"),
      "/etc/waysfs/config": .text("[default]\nregion = machine\ngid = 2\n[work]\nuid = 3\nregion = machine-work"),
    ]
    #expect(value(.region, try layers(files)) == "user")
    #expect(value(.gid, try layers(files)) == "2")
    let work = try layers(files, profile: "work")
    #expect(value(.uid, work) == "1" && value(.region, work) == "machine-work")
    #expect(value(.region, try layers(files, profile: "default")) == "user")
    var other = Self.context
    other.environment["XDG_CONFIG_HOME"] = "/xdg"
    #expect(value(.region, try layers(files, context: other)) == "machine")
    #expect(try layers([:]).isEmpty)
  }

  @Test func anotherFileReplacesBoth() throws {
    let files: [String: FileText] = [
      "/own": .text("[default]\nuid = 7"), "/etc/waysfs/config": .text("[default]\ngid = 2"),
    ]
    let own = try layers(files, path: "/own")
    #expect(value(.uid, own) == "7" && value(.gid, own) == nil)
    #expect(throws: UsageError.self) { try layers(files, path: "/missing") }
  }

  @Test func pathsCountFromTheFile() throws {
    let text = "[default]\nlog-file = l\ncache-dir = ~/c\nca-file = /x.pem\ncredentials-file = sub/keys"
    let found = try layers(["/etc/waysfs/config": .text(text)])
    #expect(value(.logFile, found) == "/etc/waysfs/l" && value(.cacheDirectory, found) == "/home/u/c")
    #expect(value(.caFile, found) == "/x.pem" && value(.credentialsFile, found) == "/etc/waysfs/sub/keys")
  }

  @Test func whatFollowsTheFlagForLists() throws {
    let found = try layers(["/etc/waysfs/config": .text("[default]\noptions = noatime,ro,exec")])
    #expect(value(.readOnly, found) == "yes")
    #expect(found[0].kernelFlags == [.noAccessTime: true, .noExecution: false])
  }

  static let wrong: [(String, String)] = [
    ("region = r", "/etc/waysfs/config:1: this belongs to no profile"),
    ("[default]\nregoin = r", "/etc/waysfs/config:2: unknown key 'regoin'; did you mean 'region'?"),
    ("[default]\n\nxyzzy = r", "/etc/waysfs/config:3: unknown key 'xyzzy'"),
    ("[other]\nalow_other = yes", ":2: unknown key 'alow_other'; did you mean 'allow-other'?"),
    ("[default]\nprofile = x", "'profile' cannot be given in a configuration file"),
    ("[default]\nregion", ":2: this is neither"), ("[default]\nuid = 1\nuid = 2", ":3: 'uid' is there twice"),
    ("[a]\n[b]\n[a]", ":3: the profile [a] is there twice"), ("[a b]", ":1: a profile is written as"),
    ("[]", ":1: a profile is written as"), ("[open", ":1: a profile is written as"),
    ("[default]\npath-style = no", ":2: 'path-style' is chosen with 'yes'"),
    ("[default]\npath-style = maybe", ":2: path-style: 'maybe' is neither yes nor no"),
    ("[default]\noptions = alow_other", ":2: -o: unknown option 'alow-other'"),
    ("[default]\nlog-file =", ":2: log-file: the path is empty"),
    ("[default]\npath-style = yes\nvirtual-host = yes", "exclude each other"),
  ]

  @Test(arguments: wrong)
  func errorsNameTheLine(_ text: String, _ part: String) throws {
    let error = try #require(throws: UsageError.self) { try layers(["/etc/waysfs/config": .text(text)]) }
    #expect(error.message.contains(part), "\(error.message)")
  }

  @Test func wrongValuesNameTheFileAndProfile() throws {
    let found = try layers(["/etc/waysfs/config": .text("[default]\nuid = x")])
    let error = try #require(throws: UsageError.self) { try MountSettingsTests.settings(extra: found) }
    #expect(error.message == "uid in /etc/waysfs/config [default]: 'x' is not a number from 0 to 4294967294")
  }

  @Test func unknownProfilesNameTheNearest() throws {
    let error = try #require(throws: UsageError.self) {
      try layers(["/etc/waysfs/config": .text("[archive]\n")], profile: "archvie")
    }
    #expect(error.message.contains("--profile: there is no profile 'archvie'"))
    #expect(error.message.contains("/etc/waysfs/config; did you mean 'archive'?"))
  }

  @Test func filesThatEverybodyMayWriteAreRefused() throws {
    #expect(throws: UsageError.self) { try layers(["/etc/waysfs/config": .text("[default]\n", mode: 0o646)]) }
    #expect(throws: UsageError.self) { try layers(["/etc/waysfs/config": .unreadable("Permission denied")]) }
    #expect(try layers(["/etc/waysfs/config": .text("[default]\n", mode: 0o644)]).count == 1)
  }

  /// Every option of the table can be said in a file, and says the same there.
  @Test func everyOptionIsAKey() throws {
    for spelling in OptionSpelling.all {
      let value: String
      switch spelling.argument {
      case .none: value = "yes"
      case .value: value = "/v"
      }
      let text = FileText.text("[default]\n\(spelling.name) = \(value)")
      guard spelling.inFile else {
        #expect(throws: UsageError.self) { try layers(["/etc/waysfs/config": text]) }
        continue
      }
      let found = try layers(["/etc/waysfs/config": text])
      if case .none(let meaning) = spelling.argument {
        #expect(found[0].values[spelling.sets]?.text == meaning, "\(spelling.name)")
      } else {
        #expect(found[0].values[spelling.sets]?.text == "/v", "\(spelling.name)")
      }
    }
  }

  @Test func precedence() throws {
    let profile = try layers(["/etc/waysfs/config": .text("[default]\nregion = from-profile")])
    var aws = OptionLayer(.awsProfile)
    try aws.set(.region, to: "from-aws", spelledAs: "a")
    let environment = ["AWS_REGION": "from-env"]
    #expect(try MountSettingsTests.settings(environment: environment, extra: profile + [aws]).region == "from-env")
    #expect(try MountSettingsTests.settings(extra: profile + [aws]).region == "from-profile")
  }
}

struct EffectiveOptionsTests {
  private func rows(_ arguments: [String], _ layers: [OptionLayer] = []) throws -> [String: EffectiveOptions.Row] {
    let command = try #require(try Waysfs.parseAsRoot(["config"] + arguments) as? ConfigCommand)
    let typed = [try command.flags.layer(), try OptionLayer(optionLists: command.flags.optionLists)]
    let rows = EffectiveOptions.rows(typed + layers)
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.name, $0) })
  }

  @Test func eachValueHasItsOrigin() throws {
    var profile = OptionLayer(.profile)
    try profile.set(.region, to: "p", spelledAs: "region in /c [default]")
    try profile.set(.uid, to: "5", spelledAs: "uid in /c [default]")
    let rows = try rows(["--uid", "7", "-o", "ro,virtual_host"], [profile])
    #expect(rows["uid"] == .init(name: "uid", value: "7", origin: "--uid"))
    #expect(rows["region"] == .init(name: "region", value: "p", origin: "region in /c [default]"))
    #expect(rows["read-only"] == .init(name: "read-only", value: "yes", origin: "-o ro"))
    #expect(rows["virtual-host"] == .init(name: "virtual-host", value: "yes", origin: "-o virtual-host"))
    #expect(rows["path-style"] == nil)
    #expect(rows["allow-other"] == .init(name: "allow-other", value: "no", origin: "default"))
    #expect(rows["connections"] == .init(name: "connections", value: "32", origin: "default"))
    #expect(rows["log-file"] == .init(name: "log-file", value: nil, origin: "default"))
  }

  @Test func jsonIsEscaped() {
    let text = EffectiveOptions.json([
      .init(name: "a", value: "x\"\n", origin: "o"), .init(name: "b", value: nil, origin: ""),
    ])
    #expect(
      text
        == "[\n  {\"name\": \"a\", \"value\": \"x\\\"\\n\", \"from\": \"o\"},\n  {\"name\": \"b\", \"value\": null, \"from\": \"\"}\n]"
    )
  }
}
