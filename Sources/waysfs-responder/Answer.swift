import Glibc

/// What a request gets.
struct Answer: Sendable {
  enum Content: Sendable {
    case none
    case bytes([UInt8])
    /// A range of an object, which is sent from where it lies.
    case object(Body, Range<Int>)
    /// The head that a GET would have gotten, without the bytes.
    case headOnly(length: Int)
  }

  var status: Int
  private(set) var headers: [UInt8] = []
  var content: Content

  init(_ status: Int = 200, _ content: Content = .none) {
    self.status = status
    self.content = content
  }

  /// An answer with a document.
  init(xml: [UInt8]) {
    self.init(200, .bytes(xml))
    header("Content-Type", "application/xml")
  }

  /// - Parameter isHead: an answer to HEAD has no body, which is where the reason would stand.
  init(_ refusal: Refusal, isHead: Bool) {
    let document = XMLWriter.document("Error", hasNamespace: false) { xml in
      xml.element("Code", refusal.code)
      xml.element("Message", refusal.message)
    }
    self.init(refusal.status, isHead || refusal.status == 304 ? .none : .bytes(document))
    if case .bytes = content { header("Content-Type", "application/xml") }
  }

  mutating func header(_ name: String, _ value: String) {
    header(name, value.utf8)
  }

  mutating func header(_ name: String, _ value: some Collection<UInt8>) {
    headers += name.utf8
    headers += ": ".utf8
    headers += value
    headers += "\r\n".utf8
  }

  /// The head as it is sent.
  func head(keepsAlive: Bool, now: Int) -> [UInt8] {
    var head: [UInt8] = []
    head.reserveCapacity(headers.count + 256)
    head += "HTTP/1.1 \(status) \(Self.phrase(status))\r\n".utf8
    head += "Server: waysfs-responder\r\nDate: \(HTTPDate.text(now))\r\n".utf8
    head += headers
    switch content {
    case .none where status == 204 || status == 304: break
    case .none: head += "Content-Length: 0\r\n".utf8
    case .bytes(let bytes): head += "Content-Length: \(bytes.count)\r\n".utf8
    case .object(_, let range): head += "Content-Length: \(range.count)\r\n".utf8
    case .headOnly(let length): head += "Content-Length: \(length)\r\n".utf8
    }
    if !keepsAlive { head += "Connection: close\r\n".utf8 }
    head += "\r\n".utf8
    return head
  }

  private static func phrase(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 204: "No Content"
    case 206: "Partial Content"
    case 304: "Not Modified"
    case 400: "Bad Request"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 409: "Conflict"
    case 412: "Precondition Failed"
    case 416: "Range Not Satisfiable"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    default: "Status"
    }
  }
}

/// Times as HTTP and S3 write them; always in UTC.
enum HTTPDate {
  private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

  /// `Sun, 06 Nov 1994 08:49:37 GMT`; the argument is in seconds since 1970.
  static func text(_ seconds: Int) -> String {
    let time = broken(seconds)
    let date = "\(days[Int(time.tm_wday)]), \(padded(time.tm_mday)) \(months[Int(time.tm_mon)]) \(time.tm_year + 1900)"
    return "\(date) \(padded(time.tm_hour)):\(padded(time.tm_min)):\(padded(time.tm_sec)) GMT"
  }

  /// `1994-11-06T08:49:37.000Z`, as in documents.
  static func iso(_ seconds: Int) -> String {
    let time = broken(seconds)
    let date = "\(time.tm_year + 1900)-\(padded(time.tm_mon + 1))-\(padded(time.tm_mday))"
    return "\(date)T\(padded(time.tm_hour)):\(padded(time.tm_min)):\(padded(time.tm_sec)).000Z"
  }

  private static func broken(_ seconds: Int) -> tm {
    var seconds = time_t(seconds)
    var result = tm()
    gmtime_r(&seconds, &result)
    return result
  }

  private static func padded(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
