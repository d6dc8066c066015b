import Testing

@testable import waysfs

struct ProfileFileTests {
  @Test func readsTheUsualForm() throws {
    let file = ProfileFile(
      parsing: """
        # a comment
        [default]
        aws_access_key_id = AK
        AWS_Secret_Access_Key=se/cr+et=#x
        region = eu-north-1   # where it is

        [profile work]
        s3 =
            endpoint_url = https://storage.wayscloud.services
            addressing_style = path
        output = json
        ; another
        [other]
        """)
    #expect(
      file.profile("default") == [
        "aws_access_key_id": "AK", "aws_secret_access_key": "se/cr+et=#x", "region": "eu-north-1",
      ])
    let work = try #require(file.profile("work"))
    #expect(work["s3.endpoint_url"] == "https://storage.wayscloud.services")
    #expect(work["output"] == "json")
    #expect(work["endpoint_url"] == nil)
    #expect(file.profile("other") == [:])
    #expect(file.profile("none") == nil)
    #expect(file.profiles == ["default", "other", "work"])
  }

  @Test func toleratesWhatEditorsAndPeopleDo() {
    let file = ProfileFile(
      parsing: "\u{FEFF}[ default ]\r\n  a = 1\r\n  b = 2\r\n[default]\rb = 3\n[profile \"x y\"]\nc=4")
    #expect(file.profile("default") == ["a": "1", "b": "3"])
    #expect(file.profile("x y") == ["c": "4"])
  }

  @Test func passesOverNonsense() {
    let file = ProfileFile(parsing: "orphan = 1\n[open\nx = 1\n[]\n=\n[a]\n= v\nnoequals\nk =\n\u{0}\u{1}=2\n[a")
    #expect(file.profile("a")?["k"] == "")
    #expect(file.profile("open") == nil)
  }
}

struct CredentialSearchTests {
  private func search(
    _ environment: [String: String], files: [String: FileText] = [:], home: String? = "/home/u",
    layers: [OptionLayer] = []
  ) throws -> FoundCredentials {
    try CredentialSearch(
      environment: environment, home: home, workingDirectory: "/srv/here",
      layers: layers + [try OptionLayer(environment: environment)], controlPlane: "https://api.wayscloud.services"
    ) { files[$0] ?? .absent }.find()
  }

  private static let file: [String: FileText] = [
    "/home/u/.aws/credentials": .text(
      "[default]\naws_access_key_id=FILE\naws_secret_access_key=fs\n[work]\naws_access_key_id=WORK\n"
        + "aws_secret_access_key=ws\naws_session_token=wt\n"),
    "/home/u/.aws/config": .text(
      "[default]\nregion=r1\nendpoint_url=http://e1\n[profile work]\nregion=r2\nendpoint_url=http://no\n"
        + "s3=\n  endpoint_url=http://e2\n"),
  ]

  private func keyPair(_ found: FoundCredentials) -> KeyPair? {
    guard case .keyPair(let pair, _) = found.source else { return nil }
    return pair
  }

  @Test func environmentComesFirst() throws {
    let found = try search(
      [
        "AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": " es\n", "AWS_SESSION_TOKEN": "t",
        "WAYSCLOUD_API_KEY": "k",
      ], files: Self.file)
    #expect(
      keyPair(found) == KeyPair(accessKeyID: "ENV", secretAccessKey: Secret("es"), sessionToken: Secret("t")))
    // The profile's server belongs to the profile's key.
    #expect(found.region == nil && found.endpoint == nil)
  }

  @Test func sharedFilesComeLast() throws {
    let found = try search([:], files: Self.file)
    #expect(keyPair(found)?.accessKeyID == "FILE")
    #expect(found.region == "r1" && found.endpoint == "http://e1")
  }

  @Test func profiles() throws {
    let found = try search(["AWS_PROFILE": "work"], files: Self.file)
    #expect(
      keyPair(found) == KeyPair(accessKeyID: "WORK", secretAccessKey: Secret("ws"), sessionToken: Secret("wt")))
    #expect(found.region == "r2" && found.endpoint == "http://e2")
  }

  @Test func unknownProfileNamesTheNearest() throws {
    let error = try #require(throws: Failure.self) { try search(["AWS_PROFILE": "wrok"], files: Self.file) }
    #expect(error.description.contains("'wrok'") && error.description.contains("Did you mean 'work'?"))
  }

  @Test func keysInTheConfigurationFile() throws {
    let found = try search(
      ["AWS_CONFIG_FILE": "/c"],
      files: ["/c": .text("[default]\naws_access_key_id=C\naws_secret_access_key=cs\nregion=rc")])
    #expect(keyPair(found)?.accessKeyID == "C")
    #expect(found.region == "rc")
  }

  @Test func otherPlaces() throws {
    let found = try search(
      ["AWS_SHARED_CREDENTIALS_FILE": "/x"],
      files: ["/x": .text("[default]\naws_access_key_id=X\naws_secret_access_key=xs")])
    #expect(keyPair(found)?.accessKeyID == "X")
  }

  private static func layer(
    _ origin: OptionOrigin, _ values: KeyValuePairs<MountOption, String>
  ) throws -> OptionLayer {
    var layer = OptionLayer(origin)
    for (option, text) in values { try layer.set(option, to: text, spelledAs: "\(origin) \(option)") }
    return layer
  }

  private func apiKey(_ found: FoundCredentials) -> String? {
    guard case .controlPlane(let key, "https://api.wayscloud.services", _) = found.source else { return nil }
    return key.revealed
  }

  /// Everything at once: each source in its turn is what counts when those before it are gone.
  @Test func theOrderOfSources() throws {
    var files = Self.file
    for name in ["flag", "list", "env", "profile"] {
      files["/srv/here/\(name).key"] = .text("\(name)\n")
      files["/srv/here/\(name).aws"] = .text("[default]\naws_access_key_id=\(name)\naws_secret_access_key=s\n")
    }
    files["/run/creds/wayscloud-api-key"] = .text("handed", mode: 0o444)
    files["/run/creds/aws-credentials"] = .text("[default]\naws_access_key_id=H\naws_secret_access_key=s", mode: 0o444)
    let options = { (origin: OptionOrigin, name: String) in
      try Self.layer(origin, [.credentialsFile: "\(name).aws", .apiKeyFile: "\(name).key"])
    }
    let layers = [try options(.flag, "flag"), try options(.optionList, "list"), try options(.profile, "profile")]
    var environment = [
      "AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s", "WAYSCLOUD_API_KEY": "k",
      "WAYSCLOUD_API_KEY_FILE": "env.key", "CREDENTIALS_DIRECTORY": "/run/creds",
    ]
    let search = { (count: Int, environment: [String: String]) in
      let chosen = layers.suffix(count).filter { $0.origin != .profile }
      let said = try OptionLayer(environment: environment)
      let last = layers.filter { $0.origin == .profile && count > 0 }
      return try CredentialSearch(
        environment: environment, home: "/home/u", workingDirectory: "/srv/here", layers: chosen + [said] + last,
        controlPlane: "https://api.wayscloud.services"
      ) { files[$0] ?? .absent }.find()
    }
    #expect(keyPair(try search(3, environment))?.accessKeyID == "flag")
    #expect(keyPair(try search(2, environment))?.accessKeyID == "list")
    #expect(keyPair(try search(1, environment))?.accessKeyID == "ENV")
    environment["AWS_ACCESS_KEY_ID"] = nil
    environment["AWS_SECRET_ACCESS_KEY"] = nil
    #expect(apiKey(try search(1, environment)) == "k")
    environment["WAYSCLOUD_API_KEY"] = ""
    #expect(apiKey(try search(1, environment)) == "env")
    environment["WAYSCLOUD_API_KEY_FILE"] = nil
    #expect(apiKey(try search(1, environment)) == "handed")
    files["/run/creds/wayscloud-api-key"] = nil
    #expect(keyPair(try search(1, environment))?.accessKeyID == "H")
    environment["CREDENTIALS_DIRECTORY"] = nil
    #expect(keyPair(try search(1, environment))?.accessKeyID == "profile")
    #expect(keyPair(try search(0, environment))?.accessKeyID == "FILE")
  }

  @Test func aProfileOfTheAWSFilesIsASourceWhereItIsNamed() throws {
    let named = try Self.layer(.profile, [.awsProfile: "work"])
    #expect(keyPair(try search([:], files: Self.file, layers: [named]))?.accessKeyID == "WORK")
    let chosen = try Self.layer(.flag, [.awsProfile: "work"])
    #expect(keyPair(try search(["WAYSCLOUD_API_KEY": "k"], files: Self.file, layers: [chosen]))?.accessKeyID == "WORK")
    // With a file of its own it is only the part of that file.
    let both = try Self.layer(.flag, [.awsProfile: "b", .credentialsFile: "/pairs"])
    let pairs = FileText.text(
      "[a]\naws_access_key_id=A\naws_secret_access_key=s\n[b]\naws_access_key_id=B\n"
        + "aws_secret_access_key=s\nregion=rb\n")
    let found = try search([:], files: ["/pairs": pairs], layers: [both])
    #expect(keyPair(found)?.accessKeyID == "B" && found.region == "rb")
    let error = try #require(throws: Failure.self) {
      try search(
        ["AWS_PROFILE": "aa"], files: ["/pairs": pairs], layers: [try Self.layer(.flag, [.credentialsFile: "/pairs"])])
    }
    #expect(error.description.contains("no profile 'aa' in /pairs") && error.description.contains("'a'?"))
  }

  static let exposed: [(UInt32, String?)] = [
    (0o600, nil), (0o400, nil), (0o640, nil), (0o644, "read"), (0o604, "read"), (0o602, "write"), (0o666, "read"),
  ]

  @Test(arguments: exposed)
  func secretsThatOthersMayReadAreRefused(_ mode: UInt32, _ right: String?) throws {
    let pair = FileText.text("[default]\naws_access_key_id=A\naws_secret_access_key=s3cr3t", mode: mode)
    let key = FileText.text("s3cr3t", mode: mode)
    let ways: [(FileText, String, MountOption?)] = [
      (key, "/secret", .apiKeyFile), (pair, "/secret", .credentialsFile), (pair, "/home/u/.aws/credentials", nil),
      (pair, "/home/u/.aws/config", nil),
    ]
    for (file, path, option) in ways {
      let layers = try option.map { [try Self.layer(.flag, [$0: path])] } ?? []
      let result = Result { try search([:], files: [path: file], layers: layers) }
      switch (result, right) {
      case (.success, nil): break
      case (.failure(let error as Failure), let right?):
        #expect(error.description.contains("everybody may \(right)") && error.description.contains("chmod 600 \(path)"))
        #expect(!error.description.contains("s3cr3t"))
      default: Issue.record("\(path) \(String(mode, radix: 8)): \(result)")
      }
    }
    // A file without a secret may be everybody's.
    let settings: [String: FileText] = ["/home/u/.aws/config": .text("[default]\nregion=r", mode: mode)]
    let found = try search(
      ["AWS_SHARED_CREDENTIALS_FILE": "/own"],
      files: settings.merging([
        "/own": .text(
          "[default]\naws_access_key_id=A\naws_secret_access_key=s")
      ]) { $1 })
    #expect(found.region == "r")
  }

  @Test func filesThatMayHoldSecrets() throws {
    let files: [String: FileText] = [
      "/home/u/.aws/credentials": .text("", mode: 0o644), "/srv/here/key": .text("k"), "/pairs": .unreadable("no"),
    ]
    let search = CredentialSearch(
      environment: [:], home: "/home/u", workingDirectory: "/srv/here",
      layers: [
        try Self.layer(.flag, [.apiKeyFile: "key", .credentialsFile: "/pairs"]),
        try Self.layer(.profile, [.apiKeyFile: "/srv/here/key"]),
      ], controlPlane: "", readFile: { files[$0] ?? .absent })
    let found = search.secretFiles()
    #expect(found.map(\.path) == ["/srv/here/key", "/home/u/.aws/credentials"])
    #expect(found.map { $0.problem == nil } == [true, false])
  }

  @Test(arguments: ["", "two words", "line\nline", "\u{FEFF}"])
  func aFileThatIsNoAPIKeyIsRefused(_ text: String) throws {
    let layers = [try Self.layer(.flag, [.apiKeyFile: "/key"])]
    #expect(throws: Failure.self) { try search([:], files: ["/key": .text(text)], layers: layers) }
    #expect(throws: Failure.self) { try search([:], layers: layers) }
  }

  @Test func nothingFoundNamesAllPlaces() throws {
    let error = try #require(throws: Failure.self) { try search([:]) }
    for place in ["AWS_ACCESS_KEY_ID", "/home/u/.aws/credentials [default]", "WAYSCLOUD_API_KEY"] {
      #expect(error.description.contains(place))
    }
    let service = try #require(throws: Failure.self) { try search(["CREDENTIALS_DIRECTORY": "/run/credentials/x"]) }
    #expect(service.description.contains("/run/credentials/x, /home/u/.aws/credentials"))
    #expect(throws: Failure.self) { try search([:], home: nil) }
  }

  static let halves: [[String: String]] = [
    ["AWS_ACCESS_KEY_ID": "a"], ["AWS_SECRET_ACCESS_KEY": "s3cr3t"],
    ["AWS_ACCESS_KEY_ID": "a b", "AWS_SECRET_ACCESS_KEY": "s3cr3t"],
    ["AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cr3t\nX: y"],
    ["AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "ü"],
    ["AWS_SHARED_CREDENTIALS_FILE": "/missing"],
  ]

  @Test(arguments: halves)
  func halfAPairIsAnErrorWithoutTheSecret(_ environment: [String: String]) throws {
    let error = try #require(throws: Failure.self) { try search(environment, files: Self.file) }
    #expect(!error.description.contains("s3cr3t"))
  }

  @Test func unreadableFileIsNotPassedOver() throws {
    let error = try #require(throws: Failure.self) {
      try search([:], files: ["/home/u/.aws/credentials": .unreadable("Permission denied")])
    }
    #expect(error.description.contains("Permission denied"))
  }

  @Test func secretsDoNotShow() throws {
    let found = try search(["AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "hunter2"])
    var dumped = ""
    dump(found, to: &dumped)
    for text in ["\(found)", String(reflecting: found), dumped] { #expect(!text.contains("hunter2")) }
  }
}
