/// The endpoints of the control plane.
enum ControlPlaneRoute: Equatable {
  case listBuckets
  case createBucket
  case bucketDetails(String)
  case deleteBucket(String)
  case credentials
  case protocolGuide
  /// Not the service's, but the sandbox's own: `POST /sandbox/rotate` makes a new key pair, and the old one is refused
  /// from then on.
  case rotateCredentials
  /// `POST /sandbox/faults`: what the next requests are answered with.
  case announceFault

  /// Finds the endpoint for a method and a path that is still percent-encoded.
  init(method: String, path: String) throws(Refusal) {
    let components = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map(String.init)
    // Names have no character that needs encoding, so an encoded one is no name: it falls through to 404.
    switch (components, method) {
    case (["v1", "storage", "buckets"], "GET"): self = .listBuckets
    case (["v1", "storage", "buckets"], "POST"): self = .createBucket
    case (["v1", "storage", "credentials"], "GET"): self = .credentials
    case (["storage", "s3"], "GET"): self = .protocolGuide
    case (["sandbox", "rotate"], "POST"): self = .rotateCredentials
    case (["sandbox", "faults"], "POST"): self = .announceFault
    case (["v1", "storage", "buckets"], _), (["v1", "storage", "credentials"], _), (["storage", "s3"], _),
      (["sandbox", "rotate"], _), (["sandbox", "faults"], _):
      throw Refusal(405, "Method not allowed.")
    default:
      guard components.count == 4, components.dropLast() == ["v1", "storage", "buckets"], !components[3].isEmpty else {
        throw Refusal(404, "No such endpoint.")
      }
      switch method {
      case "GET": self = .bucketDetails(components[3])
      case "DELETE": self = .deleteBucket(components[3])
      default: throw Refusal(405, "Method not allowed.")
      }
    }
  }
}
