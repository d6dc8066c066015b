extension HTTPTransport {
  /// How a transport behaves; fixed for its life.
  public struct Configuration: Hashable, Sendable {
    /// How many transfers, and so connections, may be under way for one scheme, host and port.
    public var connectionsPerHost = 64
    /// How many transfers may be under way in all; as many idle connections are kept.
    public var totalConnections = 256
    /// Whether requests of several groups (`HTTPRequest.group`) share the transfers: then none takes more than three
    /// quarters of what the others leave.
    public var isShared = false
    /// After how many seconds without use a connection is not used again.
    public var maximumIdleSeconds = 60
    /// How much is read from a socket at once, in bytes; 1 KiB to 512 KiB.
    public var receiveBufferSize = 512 * 1024
    /// How much of a body is read at once to be sent, in bytes; 16 KiB to 2 MiB. (256 KiB costs half the
    /// CPU of 64 KiB; more gains nothing.)
    public var uploadBufferSize = 256 * 1024
    /// How large the head of a response may be, interim heads and trailer fields included, in bytes.
    public var maximumHeadBytes = 64 * 1024
    /// A PEM file with the certificate authorities to trust, in place of the system's. The server's certificate is
    /// always verified.
    public var caFile: String?
    /// A directory of such files, named by hash (see `openssl rehash`), in place of the system's.
    public var caPath: String?
    /// The `User-Agent` field; empty means none.
    public var userAgent = "waysfs"
    /// Whether `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` in the environment are honoured. A loopback
    /// address is never reached through a proxy.
    public var usesEnvironmentProxy = true

    /// The defaults.
    public init() {}
  }
}
