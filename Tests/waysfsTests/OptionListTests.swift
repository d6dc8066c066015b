import Testing

@testable import waysfs

struct OptionListTests {
  static let readable: [(String, [OptionList.Item])] = [
    ("", []),
    ("ro", [.init(name: "ro", value: nil)]),
    ("ro,,uid=5", [.init(name: "ro", value: nil), .init(name: "uid", value: "5")]),
    ("allow_other,cache-dir=/x", [.init(name: "allow-other", value: nil), .init(name: "cache-dir", value: "/x")]),
    ("comment=\"a,b=c\",rw", [.init(name: "comment", value: "a,b=c"), .init(name: "rw", value: nil)]),
    ("log-file=/a\\,b", [.init(name: "log-file", value: "/a,b")]),
    ("log-file=/a\\b", [.init(name: "log-file", value: "/a\\b")]),
    ("x=\"say \\\"hi\\\"\"", [.init(name: "x", value: "say \"hi\"")]),
    ("endpoint=http://h:1/?a=b", [.init(name: "endpoint", value: "http://h:1/?a=b")]),
    ("uid=", [.init(name: "uid", value: "")]),
  ]

  @Test(arguments: readable)
  func splits(_ text: String, _ items: [OptionList.Item]) throws {
    #expect(try OptionList(parsing: text).items == items)
  }

  @Test(arguments: ["a=\"b", "\"", "=x", "ro,=5"])
  func refuses(_ text: String) {
    #expect(throws: UsageError.self) { try OptionList(parsing: text) }
  }
}

struct OptionLayerTests {
  private func layer(_ lists: String...) throws -> OptionLayer { try OptionLayer(optionLists: lists) }

  @Test func underscoresAndHyphensAreTheSame() throws {
    #expect(try layer("cache_dir=/a").values[.cacheDirectory]?.text == "/a")
    #expect(try layer("cache-dir=/a").values[.cacheDirectory]?.text == "/a")
  }

  @Test func lastOneWins() throws {
    #expect(try layer("ro,rw").values[.readOnly]?.text == "no")
    #expect(try layer("rw", "ro").values[.readOnly]?.text == "yes")
    #expect(try layer("uid=1,uid=2").values[.uid]?.text == "2")
    #expect(try layer("path_style,virtual_host").values[.addressing]?.text == "virtual")
  }

  @Test func whatMountAndSystemdPassIsIgnored() throws {
    let text =
      "defaults,_netdev,nofail,noauto,auto,user,users,nouser,owner,group,x-systemd.automount,"
      + "x-systemd.idle-timeout=60,X-mount.mkdir,comment=\"a,b\",default_permissions,relatime"
    let layer = try layer(text)
    #expect(layer.values.isEmpty)
    #expect(layer.kernelFlags.isEmpty)
  }

  @Test func kernelFlags() throws {
    let layer = try layer("suid,dev,noexec,noatime,exec")
    #expect(
      layer.kernelFlags == [.noSetUserID: false, .noDevices: false, .noExecution: false, .noAccessTime: true])
  }

  static let unknown: [(String, String)] = [
    ("alow_other", "did you mean 'allow-other'?"), ("regoin=x", "did you mean 'region'?"),
    ("netdev", "did you mean '_netdev'?"), ("xyzzy", "unknown option 'xyzzy'"),
    ("foreground", "cannot be given with -o"),
  ]

  @Test(arguments: unknown)
  func namesTheNearest(_ text: String, _ part: String) throws {
    let error = try #require(throws: UsageError.self) { try layer(text) }
    #expect(error.message.contains(part), "\(error.message)")
  }

  @Test(arguments: ["uid", "endpoint", "path_style=yes"])
  func valuesWhereTheyBelong(_ text: String) {
    #expect(throws: UsageError.self) { try layer(text) }
  }

  @Test func flagsWithValue() throws {
    #expect(try layer("allow_other=no").values[.allowOther]?.text == "no")
  }

  @Test func everyOptionOfTheTableIsTaken() throws {
    for spelling in OptionSpelling.all where spelling.inOptionList {
      let text = spelling.argument == .value("") ? "" : spelling.name
      let item: String
      switch spelling.argument {
      case .none: item = text
      case .value: item = "\(text)=v"
      }
      #expect(try layer(item).values[spelling.sets] != nil, "\(item)")
    }
  }

  @Test func environmentByPrecedence() throws {
    let both = try OptionLayer(environment: ["AWS_ENDPOINT_URL": "http://b", "AWS_ENDPOINT_URL_S3": "http://a"])
    #expect(both.values[.endpoint] == .init(text: "http://a", spelledAs: "AWS_ENDPOINT_URL_S3"))
    let one = try OptionLayer(environment: ["AWS_REGION": "", "AWS_DEFAULT_REGION": "r"])
    #expect(one.values[.region]?.text == "r")
    #expect(try OptionLayer(environment: ["PATH": "/bin"]).values.isEmpty)
  }

  @Test func flagsExcludeEachOther() throws {
    var layer = OptionLayer(.flag)
    try layer.set(.addressing, to: "path", spelledAs: "--path-style")
    let error = try #require(throws: UsageError.self) {
      try layer.set(.addressing, to: "virtual", spelledAs: "--virtual-host")
    }
    #expect(error.message == "--path-style and --virtual-host exclude each other")
  }
}
