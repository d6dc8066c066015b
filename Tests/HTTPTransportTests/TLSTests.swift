import Foundation
import Glibc
import HTTPTransport
import Testing

@Suite struct TLSTests {
  @Test func certificatesAreVerified() throws {
    let server = try TLSServer()
    defer { server.stop() }
    let untrusting = try HTTPTransport()
    let error = try untrusting.failure(HTTPRequest(.put, server.url("127.0.0.1"), body: .bytes([1])))
    #expect(error.code == .tls)
    #expect(error.neverSent)

    var configuration = HTTPTransport.Configuration()
    configuration.caFile = server.certificate
    let trusting = try HTTPTransport(configuration)
    for _ in 0..<2 {
      let response = try trusting.exchange(HTTPRequest(.get, server.url("127.0.0.1")))
      #expect(response.body == Array("over tls".utf8))
    }
    // The certificate is for the address, not for the name.
    try #expect(trusting.failure(HTTPRequest(.get, server.url("localhost"))).code == .tls)
  }

  @Test func anAuthorityFileThatIsNotThereIsAnError() throws {
    let server = try TLSServer()
    defer { server.stop() }
    var configuration = HTTPTransport.Configuration()
    configuration.caFile = "/nonexistent/ca.pem"
    let transport = try HTTPTransport(configuration)
    let error = try transport.failure(HTTPRequest(.get, server.url("127.0.0.1")))
    #expect(error.code == .tls)
    #expect(error.neverSent)
  }

  @Test func aServerThatDoesNotSpeakTLS() throws {
    let server = ScriptedServer { connection in
      try connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      try connection.readToEnd()
    }
    try withServer(server) { transport in
      let url = server.url().replacing("http:", with: "https:")
      let error = try transport.failure(HTTPRequest(.get, url))
      #expect(error.code == .tls)
      #expect(error.neverSent)
    }
  }
}

/// A TLS server in Python with a certificate made for it; both need their commands in PATH.
private final class TLSServer {
  private static let script = """
    import socket, ssl, sys
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    listener = socket.create_server(('127.0.0.1', 0))
    print(listener.getsockname()[1], flush=True)
    while True:
      connection, _ = listener.accept()
      try:
        with context.wrap_socket(connection, server_side=True) as tls:
          tls.recv(65536)
          tls.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 8\\r\\n\\r\\nover tls')
      except OSError:
        pass
    """

  let certificate: String
  private let directory: String
  private let child: Child
  private let port: Int

  init() throws {
    directory = NSTemporaryDirectory() + "/waysfs-tls-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    certificate = directory + "/certificate.pem"
    let key = directory + "/key.pem"
    let openssl = try Child([
      "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
      "-subj", "/CN=waysfs test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
    ])
    try #require(openssl.wait() == 0, "the openssl command is needed for this test")
    child = try Child(["python3", "-c", Self.script, certificate, key])
    port = try #require(Int(child.readLine()), "python3 is needed for this test")
  }

  func url(_ host: String) -> String { "https://\(host):\(port)/" }

  func stop() {
    child.terminate()
    _ = child.wait()
    try? FileManager.default.removeItem(atPath: directory)
  }
}

/// A child process whose output can be read. (Foundation's waits on a run loop, which hangs in a test.)
private struct Child {
  private let process: pid_t
  private let output: Int32

  init(_ command: [String]) throws {
    var ends: [Int32] = [0, 0]
    pipe(&ends)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var arguments = command.map { strdup($0) } + [nil]
    var process: pid_t = 0
    let status = posix_spawnp(&process, command[0], &actions, nil, &arguments, environ)
    for argument in arguments { free(argument) }
    posix_spawn_file_actions_destroy(&actions)
    close(ends[1])
    self.process = process
    output = ends[0]
    try #require(status == 0, "\(command[0]) cannot be started")
  }

  func readLine() -> String {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while read(output, &byte, 1) == 1, byte != UInt8(ascii: "\n") { line.append(byte) }
    return String(decoding: line, as: UTF8.self)
  }

  // Not SIGTERM: the child inherits the signal mask of the thread, on which the test runner has blocked it.
  func terminate() { kill(process, SIGKILL) }

  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    close(output)
    return status
  }
}
