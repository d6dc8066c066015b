import Basics
import FoundationEssentials
import HTTPTransport

/// The largest answer that is read, in bytes: room for some ten thousand buckets.
let answerLimit = 10 * 1024 * 1024

/// Turns an answer which is not a success into an error, whose message does not have the secret.
func refusal(_ response: HTTPResponse, hiding secret: String) -> ControlPlaneError {
  var error = explained(response, hiding: secret)
  error.mayBeApplied = response.head.status >= 500 || response.head.status == 408
  return error
}

private func explained(_ response: HTTPResponse, hiding secret: String) -> ControlPlaneError {
  let status = response.head.status
  let said = serverMessage(response.body, hiding: secret)
  switch status {
  case 401: return ControlPlaneError(.unauthorized, said ?? "The API key is not valid.", status: status)
  case 403: return ControlPlaneError(.forbidden, said ?? "The API key may not do this.", status: status)
  case 404: return ControlPlaneError(.notFound, said ?? "There is no such bucket.", status: status)
  case 408: return ControlPlaneError(.timedOut, said ?? "The control plane took too long.", status: status)
  case 409:
    return ControlPlaneError(.conflict, said ?? "The name is taken, or the bucket is not empty.", status: status)
  case 429:
    let wait = retryAfter(response.head)
    return ControlPlaneError(
      .rateLimited(retryAfter: wait), said ?? "The control plane asks for fewer requests.", status: status)
  case 400..<500: return ControlPlaneError(.invalid, said ?? "The control plane refuses this.", status: status)
  case 500..<600: return ControlPlaneError(.server, said ?? "The control plane failed.", status: status)
  default:
    // A redirection is not followed: the API key would go to whatever host it names.
    return ControlPlaneError(.malformedResponse, "The control plane gave an unexpected answer.", status: status)
  }
}

/// Turns a failed transfer into an error.
func transferFailure(_ error: HTTPError) -> ControlPlaneError {
  var failure = explained(error)
  failure.mayBeApplied = !error.neverSent && error.code != .invalidRequest
  return failure
}

private func explained(_ error: HTTPError) -> ControlPlaneError {
  switch error.code {
  case .connectTimedOut, .stalled, .timedOut:
    ControlPlaneError(.timedOut, "The control plane took too long: \(error.message)")
  case .unresolved, .unreachable, .tls, .connectionLost, .truncated, .shutDown, .bodyUnreadable:
    ControlPlaneError(.unreachable, "The control plane cannot be reached: \(error.message)")
  case .malformed, .rejected:
    ControlPlaneError(.malformedResponse, "The answer of the control plane cannot be understood: \(error.message)")
  case .bodyTooLarge:
    ControlPlaneError(.malformedResponse, "The answer of the control plane is too large.")
  case .invalidRequest:
    ControlPlaneError(.configuration, "The request to the control plane cannot be sent: \(error.message)")
  case .cancelled:
    ControlPlaneError(.cancelled, "The request to the control plane was cancelled.")
  }
}

/// Reads a JSON answer.
func decode<Value: Decodable>(_ type: Value.Type, from response: HTTPResponse) throws(ControlPlaneError) -> Value {
  do {
    return try JSONDecoder().decode(type, from: Data(response.body))
  } catch {
    throw ControlPlaneError(
      .malformedResponse, "The answer of the control plane cannot be understood: \(problem(error)).",
      status: response.head.status, mayBeApplied: true)
  }
}

/// What is wrong with an answer, from the names of fields and numbers of elements only: the decoder's own words may
/// quote the answer, and with it a secret.
private func problem(_ error: any Error) -> String {
  switch error {
  case DecodingError.keyNotFound(let key, let context): "\(place(context.codingPath + [key])) is missing"
  case DecodingError.valueNotFound(_, let context): "\(place(context.codingPath)) is null"
  case DecodingError.typeMismatch(_, let context):
    "\(place(context.codingPath)) is of another type than documented"
  case DecodingError.dataCorrupted(let context) where !context.codingPath.isEmpty:
    "\(place(context.codingPath)) is out of range"
  default: "it is not JSON"
  }
}

/// `buckets[3].name`
private func place(_ path: [any CodingKey]) -> String {
  guard !path.isEmpty else { return "the whole" }
  return path.reduce(into: "") { text, key in
    if let index = key.intValue {
      text += "[\(index)]"
    } else {
      text += text.isEmpty ? key.stringValue : ".\(key.stringValue)"
    }
  }
}

/// What the service asks to wait before the next try (RFC 9110, section 10.2.3), in seconds: said as such, or as a
/// date, which counts from the answer's own.
func retryAfter(_ head: HTTPResponseHead) -> Double? {
  guard let value = head["Retry-After"] else { return nil }
  if let until = parseHTTPDate(value) {
    return head["Date"].flatMap(parseHTTPDate).map { Double(max(0, until.seconds - $0.seconds)) }
  }
  guard !value.isEmpty, value.utf8.count <= 9,
    value.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
  else { return nil }
  return Double(value)
}

/// The sentence for people in an error, fit to be shown.
func serverMessage(_ body: [UInt8], hiding secret: String) -> String? {
  guard let said = try? JSONDecoder().decode(ErrorBody.self, from: Data(body)).text else { return nil }
  return shown(said, hiding: secret)
}

/// Makes what the service says fit to be shown: one line of at most 300 characters, without the secret, which the
/// service might quote. Nil when nothing is left.
func shown(_ text: String, hiding secret: String) -> String? {
  // Hidden before the text is cut, else a part of it could stay.
  let safe = secret.isEmpty ? text : text.replacing(secret, with: "[secret]")
  let line = String(safe.unicodeScalars.prefix(300).map { isShown($0) ? Character($0) : " " })
  let words = line.split(separator: " ").joined(separator: " ")
  return words.isEmpty || (!secret.isEmpty && words.contains(secret)) ? nil : words
}

private func isShown(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: false
  default: true
  }
}

/// The document does not say how an error looks; these are the forms in use.
private struct ErrorBody: Decodable {
  var text: String?

  private enum CodingKeys: String, CodingKey { case message, detail, error, msg, loc }

  init(from decoder: any Decoder) throws {
    if let text = try? decoder.singleValueContainer().decode(String.self) {
      self.text = text
      return
    }
    if var list = try? decoder.unkeyedContainer() {
      text = try? list.decode(ErrorBody.self).text
      return
    }
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    for key in [CodingKeys.message, .detail, .error, .msg] {
      guard let found = try? fields.decode(ErrorBody.self, forKey: key).text else { continue }
      // A list of problems names the field of each: ["body", "bucket_name"].
      let field = key == .msg ? (try? fields.decode([String].self, forKey: .loc))?.last : nil
      text = field.map { "\($0): \(found)" } ?? found
      return
    }
  }
}
