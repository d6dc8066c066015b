import ArgumentParser
import Glibc
import Testing
import WAYSCloud

@testable import waysfs

struct AWSProfileWriterTests {
  private static let keys = StorageCredentials(
    accessKeyID: "AK", secretAccessKey: "SK/+=", endpointURL: "https://e", region: "r")
  private static let values: [(name: String, value: String?)] = [("a", "1"), ("b", "2"), ("gone", nil)]

  static let texts: [(String, String)] = [
    ("", "[work]\na = 1\nb = 2\n"),
    ("[other]\nx = y\n\n\n", "[other]\nx = y\n\n[work]\na = 1\nb = 2\n"),
    (
      "# mine\n[work]\nA = old\nkeep = this ; yes\ngone = x\n[other]\na = stays\n",
      "# mine\n[work]\na = 1\nb = 2\nkeep = this ; yes\n[other]\na = stays\n"
    ),
    ("[ work ]\na =\n  nested = 1\nb=2\ns3 =\n  a = inner\n", "[ work ]\na = 1\nb = 2\ns3 =\n  a = inner\n"),
    ("[work]\na = old", "[work]\na = 1\nb = 2"),
    ("[default]\r\nx = y\r\n", "[default]\r\nx = y\r\n\r\n[work]\r\na = 1\r\nb = 2\r\n"),
    (
      "[work]\r\na = old\r\nkeep = this\r\n[other]\r\na = stays\r\n",
      "[work]\r\na = 1\r\nb = 2\r\nkeep = this\r\n[other]\r\na = stays\r\n"
    ),
  ]

  @Test(arguments: texts)
  func changesOnlyItsOwn(_ text: String, _ expected: String) {
    #expect(AWSProfileWriter.changed(text, section: "work", Self.values) == expected)
    // Once more changes nothing.
    #expect(AWSProfileWriter.changed(expected, section: "work", Self.values) == expected)
  }

  @Test func writesWhatTheSearchFinds() throws {
    let directory = try TemporaryDirectory()
    let context = ProcessContext(
      uid: 0, gid: 0, workingDirectory: "/", environment: ["HOME": directory.path])
    for name in ["default", "work"] {
      let lines = try AWSProfileWriter(context).write(Self.keys, to: name)
      #expect(!lines.joined().contains("SK/+="))
      let found = try CredentialSearch(
        environment: context.environment, home: context.home,
        layers: [try OptionLayer(environment: ["AWS_PROFILE": name])], controlPlane: "", readFile: readSmallFile
      ).find()
      guard case .keyPair(let pair, _) = found.source else { throw TestFailure("no key pair") }
      #expect(pair.accessKeyID == "AK" && pair.secretAccessKey.revealed == "SK/+=")
      #expect(found.endpoint == "https://e" && found.region == "r")
    }
    for name in ["credentials", "config"] {
      var information = stat()
      #expect(stat("\(directory.path)/.aws/\(name)", &information) == 0)
      #expect(information.st_mode & 0o777 == 0o600)
    }
  }

  @Test func whatIsNoTextStaysAsItIs() throws {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/.aws/credentials"
    let bytes = Array("# caf\u{E9}".unicodeScalars.map { UInt8($0.value) })
    #expect(mkdir("\(directory.path)/.aws", 0o700) == 0)
    let file = open(path, O_WRONLY | O_CREAT, 0o600)
    #expect(writeAll(file, bytes))
    close(file)
    let context = ProcessContext(uid: 0, gid: 0, workingDirectory: "/", environment: ["HOME": directory.path])
    #expect(throws: Failure.self) { try AWSProfileWriter(context).write(Self.keys, to: "work") }
    let again = open(path, O_RDONLY)
    defer { close(again) }
    #expect(try readToEnd(again, limit: 100).get() == bytes)
  }

  @Test func aFileKeepsItsOwner() throws {
    let directory = try TemporaryDirectory()
    let context = ProcessContext(uid: 0, gid: 0, workingDirectory: "/", environment: ["HOME": directory.path])
    _ = try AWSProfileWriter(context).write(Self.keys, to: "work")
    let path = "\(directory.path)/.aws/credentials"
    // Only root can give files away; for others it is theirs before and after.
    let owner = geteuid() == 0 ? 65534 : geteuid()
    #expect(chown(path, owner, gid_t.max) == 0)
    _ = try AWSProfileWriter(context).write(Self.keys, to: "other")
    var information = stat()
    #expect(stat(path, &information) == 0)
    #expect(information.st_uid == owner && information.st_mode & 0o777 == 0o600)
  }

  @Test func aLinkIsFollowed() throws {
    let directory = try TemporaryDirectory()
    let file = try directory.file("real", "[other]\nx = y\n")
    #expect(symlink(file, "\(directory.path)/link") == 0)
    let context = ProcessContext(
      uid: 0, gid: 0, workingDirectory: "/",
      environment: [
        "AWS_SHARED_CREDENTIALS_FILE": "\(directory.path)/link", "AWS_CONFIG_FILE": "\(directory.path)/config",
      ])
    _ = try AWSProfileWriter(context).write(Self.keys, to: "work")
    guard case .text(let text, 0o600) = readSmallFile(file) else { throw TestFailure("the file is not there") }
    #expect(text.hasPrefix("[other]\nx = y\n\n[work]\naws_access_key_id = AK\n"))
  }

  @Test func answersThatNoFileCanHoldAreRefused() throws {
    let directory = try TemporaryDirectory()
    let context = ProcessContext(uid: 0, gid: 0, workingDirectory: "/", environment: ["HOME": directory.path])
    let keys = StorageCredentials(accessKeyID: "AK\n[evil]", secretAccessKey: "SK")
    #expect(throws: Failure.self) { try AWSProfileWriter(context).write(keys, to: "work") }
    #expect(readSmallFile("\(directory.path)/.aws/credentials") == .absent)
  }

  @Test(arguments: ["", "a b", "a]", "[a", "a\nb", "ü"])
  func namesOfProfiles(_ name: String) throws {
    #expect(throws: (any Error).self) { try Waysfs.parseAsRoot(["credentials", "--aws-profile", name]) }
  }
}

struct CredentialsCommandTests {
  @Test func linesForAShell() {
    let keys = StorageCredentials(accessKeyID: "A", secretAccessKey: "it's $(x) `y`", endpointURL: "https://e")
    #expect(
      CredentialsCommand.exported(keys) == """
        export AWS_ACCESS_KEY_ID='A'
        export AWS_SECRET_ACCESS_KEY='it'\\''s $(x) `y`'
        export AWS_ENDPOINT_URL_S3='https://e'
        unset AWS_SESSION_TOKEN
        """)
  }

  @Test func theSecretIsNotShown() {
    let keys = StorageCredentials(accessKeyID: "A", secretAccessKey: "hunter2", region: "r\n")
    #expect(CredentialsCommand.described(keys) == "Access key id  A\nEndpoint       -\nRegion         r\\n")
  }

  @Test func oneThingAtATime() {
    #expect(throws: (any Error).self) { try Waysfs.parseAsRoot(["credentials", "--export", "--aws-profile", "a"]) }
  }
}
