import Basics
import HTTPTransport
import Logging
import S3
import WAYSCloud

/// An account of WAYSCloud, as an API key opens it. Thread-safe; every call blocks.
struct Account: Sendable {
  let apiKey: Secret
  /// Without a trailing slash.
  let baseURL: String
  /// Certificate authorities in PEM form, in place of the system's.
  var caFile: String?
  /// How often a call is sent at most.
  var attempts = 4

  /// Calls the control plane. What it says about the failure becomes words for the user.
  /// - Parameter what: what the user wanted, as in "no key pair from"; nil leaves it to the error.
  func call<Value>(
    _ what: String? = nil, _ body: (ControlPlane) throws(ControlPlaneError) -> Value
  ) throws(Failure) -> Value {
    do throws(ControlPlaneError) {
      return try ask(body)
    } catch {
      throw Failure(error, what)
    }
  }

  /// Calls the control plane.
  func ask<Value>(
    _ body: (ControlPlane) throws(ControlPlaneError) -> Value
  ) throws(ControlPlaneError) -> Value {
    // A transport for each call: calls are rare.
    let transport: HTTPTransport
    var configuration = HTTPTransport.Configuration()
    configuration.caFile = caFile
    do throws(HTTPError) {
      transport = try HTTPTransport(configuration)
    } catch {
      throw ControlPlaneError(.unreachable, error.message)
    }
    defer { transport.shutdown() }
    return try body(ControlPlane(client: transport, apiKey: apiKey.revealed, baseURL: baseURL, attempts: attempts))
  }

  /// The key pair of the storage server.
  func credentials(_ cancellation: Cancellation? = nil) throws(Failure) -> StorageCredentials {
    try call("no key pair from \(baseURL)") { plane throws(ControlPlaneError) in
      try plane.credentials(cancellation: cancellation)
    }
  }

  /// Key pairs for a mount: this one, and others when the server no longer accepts it.
  func renewing(_ first: StorageCredentials, _ log: Logger) -> RenewingCredentials {
    // The requests that wait are repeated themselves: they ask again.
    let account = Account(apiKey: apiKey, baseURL: baseURL, caFile: caFile, attempts: 2)
    return RenewingCredentials(S3Credentials(first)) {
      do throws(Failure) {
        let answer = try account.credentials()
        log.notice(
          "the server has refused the key pair; fetched it again",
          metadata: ["origin": "\(account.baseURL)", "access_key_id": "\(answer.accessKeyID)"])
        if answer.endpointURL != first.endpointURL || answer.region != first.region {
          log.warning("the control plane names another endpoint or region now; it counts from the next mount on")
        }
        return S3Credentials(answer)
      } catch {
        log.warning("the server has refused the key pair, and no other came", metadata: ["reason": "\(error)"])
        return nil
      }
    }
  }
}

extension S3Credentials {
  init(_ answer: StorageCredentials) {
    self.init(accessKeyID: answer.accessKeyID, secretAccessKey: answer.secretAccessKey)
  }
}

extension Failure {
  /// Why the control plane did not do it, and what to do.
  init(_ error: ControlPlaneError, _ what: String?) {
    let words = error.message.hasSuffix(".") ? String(error.message.dropLast()) : error.message
    let reason = what.map { "\($0): \(words)" } ?? words
    switch error.code {
    case .configuration: self.init(reason, remedy: "Check the API key and --api-url", exitCode: .usage)
    case .unauthorized, .forbidden:
      self.init(reason, remedy: "Check the API key (WAYSCLOUD_API_KEY or --api-key-file)")
    case .unreachable, .timedOut, .malformedResponse:
      self.init(
        reason,
        remedy:
          "Check the network and the address of the control plane (--api-url); a certificate of your own authority "
          + "needs --ca-file")
    case .rateLimited, .server: self.init(reason, remedy: "Try again later")
    case .invalidName: self.init(reason, exitCode: .usage)
    case .notFound, .conflict, .invalid: self.init(reason)
    case .cancelled: self.init("interrupted")
    }
  }
}
