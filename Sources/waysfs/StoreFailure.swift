import ObjectStore

extension Failure {
  /// Why the bucket does not answer, and what to do, from what the store says.
  init(_ error: ObjectStoreError, settings: MountSettings) {
    let server = settings.endpoint.description
    let bucket = settings.target.bucket?.bucket
    switch error.code {
    case .noSuchBucket, .notFound:
      self.init(
        bucket.map { "there is no bucket '\($0)' on \(server)" }
          ?? "\(server) knows of no buckets\(Self.quoted(error))",
        remedy: "Check the name, or the server with --endpoint")
    case .invalidCredentials:
      self.init(
        "\(server) does not accept the key pair\(Self.quoted(error))",
        remedy: "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile, and that they belong to this server"
      )
    case .accessDenied:
      self.init(
        "the key pair may not \(bucket == nil ? "list the buckets" : "use the bucket")\(Self.quoted(error))",
        remedy: bucket == nil
          ? "Mount a bucket by its name, or use an API key"
          : "Ask the bucket's owner for access, or use the key pair of the account that owns it")
    case .wrongRegion:
      self.init(
        "the bucket is in another region than '\(settings.region)': \(Self.words(error))",
        remedy: "Give the right one with --region")
    case .connectionFailed:
      self.init(
        "\(server) cannot be reached: \(Self.words(error))",
        remedy: "Check the network and the address given with --endpoint")
    case .timedOut:
      self.init(
        "\(server) does not answer: \(Self.words(error))",
        remedy: "Check the network and the address given with --endpoint")
    case .tlsFailed:
      self.init(
        "no secure connection to \(server): \(Self.words(error))",
        remedy: "For a server with a certificate of your own authority give its file with --ca-file")
    case .corruptResponse:
      self.init(
        "\(server) does not answer like an S3 server: \(Self.words(error))",
        remedy: "Check the address given with --endpoint")
    case .throttled, .serverError:
      self.init("\(server) has trouble: \(Self.words(error))\(Self.status(error))", remedy: "Try again later")
    case .cancelled:
      self.init("interrupted")
    case .invalidRequest, .unsupported:
      self.init(
        "\(server) refused the request: \(Self.words(error))\(Self.status(error))",
        remedy: "Check --endpoint, --region and --path-style or --virtual-host")
    case .noSuchUpload, .preconditionFailed, .conflict, .nameTooLong, .invalidSize, .invalidRange, .localReadFailed:
      // No answer to "is the bucket there?"; shown as it is rather than explained wrongly.
      self.init("\(server) gave an unexpected answer: \(Self.words(error))\(Self.status(error))")
    }
  }

  private static func quoted(_ error: ObjectStoreError) -> String {
    error.message.isEmpty ? "" : " (\(words(error)))"
  }

  /// The store's sentence as a part of ours.
  private static func words(_ error: ObjectStoreError) -> String {
    error.message.hasSuffix(".") ? String(error.message.dropLast()) : error.message
  }

  private static func status(_ error: ObjectStoreError) -> String {
    let parts = [
      error.httpStatus.map { "HTTP \($0)" }, error.serverCode, error.requestID.map { "request \($0)" },
    ].compactMap(\.self)
    return parts.isEmpty ? "" : " (\(parts.joined(separator: ", ")))"
  }
}

extension ObjectStoreError.Code {
  /// Whether a server that says so to one bucket is of no use to any other.
  var concernsEveryBucket: Bool {
    switch self {
    case .connectionFailed, .timedOut, .tlsFailed, .invalidCredentials, .corruptResponse, .cancelled: true
    default: false
    }
  }
}
