import CCurl

extension EasyHandle {
  /// Bodies up to this size are handed to libcurl as a whole: it then sends them together with the head, in one packet.
  private static let wholeBodyLimit = 64 * 1024
  /// The kernel takes up to 4 MiB to send. On a slow line that lasts longer than a stall deadline, and meanwhile the
  /// transfer looks as if it stood still. Costs nothing measurable on a fast one.
  private static let unsentBytes: Int32 = 256 * 1024

  /// Tells libcurl everything about a transfer. The transfer must stay alive until the handle is reset.
  func prepare(for transfer: Transfer, _ configuration: HTTPTransport.Configuration) -> CURLcode {
    reset()
    setConnection(transfer.target, configuration)
    setDeadlines(transfer.request.deadlines)
    let context = Unmanaged.passUnretained(transfer).toOpaque()
    set(CURLOPT_PRIVATE, pointer: context)
    setPrerequest(willSend, context)
    set(CURLOPT_HEADERFUNCTION, receiveHeadLine)
    set(CURLOPT_HEADERDATA, pointer: context)
    set(CURLOPT_WRITEFUNCTION, receiveBody)
    set(CURLOPT_WRITEDATA, pointer: context)
    set(CURLOPT_URL, transfer.request.url)
    set(CURLOPT_PATH_AS_IS, true)
    setMethod(transfer.request, context)
    set(headerLines: Self.headerLines(transfer.request.headers))
    return firstFailure
  }

  private func setConnection(_ target: RequestTarget, _ configuration: HTTPTransport.Configuration) {
    set(CURLOPT_PROTOCOLS_STR, "http,https")
    set(CURLOPT_HTTP_VERSION, ccurl_http_version_1_1)
    set(CURLOPT_NOSIGNAL, true)
    // Else giving a transfer up while its host name is looked up would block the event thread until that ends.
    set(CURLOPT_QUICK_EXIT, true)
    set(CURLOPT_TCP_NODELAY, true)
    set(CURLOPT_TCP_KEEPALIVE, true)
    set(unsentBytes: Self.unsentBytes)
    set(CURLOPT_MAXAGE_CONN, max(1, configuration.maximumIdleSeconds))
    set(CURLOPT_BUFFERSIZE, min(max(configuration.receiveBufferSize, 1024), 512 * 1024))
    set(CURLOPT_UPLOAD_BUFFERSIZE, min(max(configuration.uploadBufferSize, 16 * 1024), 2 * 1024 * 1024))
    set(CURLOPT_SSL_VERIFYPEER, true)
    set(CURLOPT_SSL_VERIFYHOST, 2)
    set(CURLOPT_SSLVERSION, ccurl_tls_1_2_or_later)
    if configuration.caFile != nil || configuration.caPath != nil {
      set(CURLOPT_CAINFO, configuration.caFile)
      set(CURLOPT_CAPATH, configuration.caPath)
    }
    // An empty string means no proxy, whatever the environment says.
    if target.isLoopback || !configuration.usesEnvironmentProxy { set(CURLOPT_PROXY, "") }
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, true)
    if !configuration.userAgent.isEmpty { set(CURLOPT_USERAGENT, configuration.userAgent) }
  }

  private func setDeadlines(_ deadlines: HTTPDeadlines) {
    // Without one, libcurl would give up connecting after five minutes.
    set(CURLOPT_CONNECTTIMEOUT_MS, Int(nanoseconds(deadlines.connect ?? .infinity) / 1_000_000))
    if let total = deadlines.total { set(CURLOPT_TIMEOUT_MS, Int(nanoseconds(total) / 1_000_000)) }
  }

  private func setMethod(_ request: HTTPRequest, _ context: UnsafeMutableRawPointer) {
    switch request.method {
    case .get:
      set(CURLOPT_HTTPGET, true)
    case .head:
      set(CURLOPT_NOBODY, true)
    case .put, .post, .delete:
      setBody(request, context)
      set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
    }
  }

  private func setBody(_ request: HTTPRequest, _ context: UnsafeMutableRawPointer) {
    let length = request.body.length
    if case .none = request.body, request.method == .delete {
      set(CURLOPT_HTTPGET, true)
    } else if length == 0 {
      set(CURLOPT_POST, true)
      set(CURLOPT_POSTFIELDSIZE_LARGE, offset: 0)
      set(CURLOPT_COPYPOSTFIELDS, "")
    } else if case .bytes(let bytes) = request.body, bytes.count <= Self.wholeBodyLimit {
      set(CURLOPT_POST, true)
      set(CURLOPT_POSTFIELDSIZE_LARGE, offset: length)
      bytes.withUnsafeBytes { set(CURLOPT_COPYPOSTFIELDS, pointer: $0.baseAddress) }
    } else {
      set(CURLOPT_UPLOAD, true)
      set(CURLOPT_INFILESIZE_LARGE, offset: length)
      set(CURLOPT_READFUNCTION, readUpload)
      set(CURLOPT_READDATA, pointer: context)
    }
  }

  /// The fields in libcurl's form: `Name: value`, `Name;` for an empty value, and `Name:` to leave a field out that
  /// libcurl would add on its own.
  private static func headerLines(_ headers: [HTTPHeader]) -> [String] {
    var lines = headers.map { $0.value.isEmpty ? "\($0.name);" : "\($0.name): \($0.value)" }
    // "Expect" always: libcurl would wait a second for servers that do not know it.
    lines.append("Expect:")
    for name in ["Accept", "Content-Type"] where !headers.contains(where: { equalIgnoringASCIICase($0.name, name) }) {
      lines.append("\(name):")
    }
    return lines
  }
}
