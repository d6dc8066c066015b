import HTTPTransport
import ObjectStore

extension HTTPResponse {
  /// What a parser makes of the answer; what it refuses is a corrupt response.
  func parsed<Value: Sendable>(_ parse: () throws(XMLError) -> Value) -> Outcome<Value> {
    do throws(XMLError) { return .value(try parse()) } catch { return .failed(corrupt(error.message)) }
  }

  /// The same for operations that may answer 200 and then tell of an error in the body
  /// (S3: CompleteMultipartUpload, CopyObject, UploadPartCopy).
  func parsedUnlessRefused<Value: Sendable>(
    root: String..., parse: (FlatDocument) throws(XMLError) -> Value
  ) -> Outcome<Value> {
    let document: FlatDocument
    do throws(XMLError) { document = try FlatDocument(body) } catch { return .failed(corrupt(error.message)) }
    if document.root == "Error" { return .refused(Refusal(head: head, body: body)) }
    return parsed { () throws(XMLError) in
      guard root.contains(document.root) else {
        throw XMLError(message: "It is a \(plain(document.root, limit: 64)).")
      }
      return try parse(document)
    }
  }

  /// A document of records, whose outermost element has one of the names.
  func records(_ name: String, depth: Int = 2, root: String...) throws(XMLError) -> RecordsHandler {
    let document = try parseXML(Array(withoutLeadingSpace(body)), into: RecordsHandler(name, depth: depth))
    guard root.contains(document.root) else { throw XMLError(message: "It is a \(plain(document.root, limit: 64)).") }
    return document
  }

  func corrupt(_ reason: String) -> ObjectStoreError {
    ObjectStoreError(
      .corruptResponse, "The server's answer is not what S3 promises. \(reason)",
      requestID: head["x-amz-request-id"].map { plain($0, limit: 128) }, httpStatus: head.status)
  }
}

extension FlatDocument {
  func required(_ name: String) throws(XMLError) -> String {
    guard let text = self[name], !text.isEmpty else { throw XMLError(message: "It has no \(name).") }
    return text
  }
}

extension S3Request {
  /// Sends an XML document.
  mutating func setXML(_ document: String) {
    let bytes = Array(document.utf8)
    body = .bytes(bytes)
    payloadHash = hexadecimal(Digest.of(bytes, .sha256))
    headers.append(HTTPHeader("Content-Type", "application/xml"))
  }
}

/// Text as the content of an XML element. Line breaks are written as references: a parser would turn a carriage return
/// into a line feed.
func xmlEscaped(_ text: String) -> String {
  var out = ""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "&": out += "&amp;"
    case "<": out += "&lt;"
    case ">": out += "&gt;"
    case "\"": out += "&quot;"
    case "'": out += "&apos;"
    case _ where scalar.value < 0x20: out += "&#x\(String(scalar.value, radix: 16).uppercased());"
    default: out.unicodeScalars.append(scalar)
    }
  }
  return out
}

/// Whether XML 1.0 can carry the text at all: most control characters have no form in it, not even as a reference.
func fitsXML(_ text: String) -> Bool {
  text.unicodeScalars.allSatisfy { scalar in
    scalar.value >= 0x20 ? scalar.value != 0xFFFE && scalar.value != 0xFFFF : [0x9, 0xA, 0xD].contains(scalar.value)
  }
}
