/// An answer that says no, as S3 words it.
struct Refusal: Error, Equatable, Sendable {
  var status: Int
  var code: String
  var message: String

  init(_ status: Int, _ code: String, _ message: String) {
    self.status = status
    self.code = code
    self.message = message
  }

  static func invalidArgument(_ message: String) -> Refusal { Refusal(400, "InvalidArgument", message) }
  static func invalidRequest(_ message: String) -> Refusal { Refusal(400, "InvalidRequest", message) }

  static let noSuchBucket = Refusal(404, "NoSuchBucket", "The bucket does not exist.")
  static let noSuchKey = Refusal(404, "NoSuchKey", "The key does not exist.")
  static let noSuchUpload = Refusal(404, "NoSuchUpload", "The upload does not exist.")
  static let preconditionFailed = Refusal(412, "PreconditionFailed", "A condition of the request does not hold.")
  static let methodNotAllowed = Refusal(405, "MethodNotAllowed", "The method is not allowed here.")
  static let notImplemented = Refusal(501, "NotImplemented", "The responder does not have this.")
  static let malformedXML = Refusal(400, "MalformedXML", "The document is not what is expected here.")
  static let full = Refusal(503, "SlowDown", "The memory of the responder is full.")
}
