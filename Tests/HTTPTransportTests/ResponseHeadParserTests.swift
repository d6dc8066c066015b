import Testing

@testable import HTTPTransport

@Suite struct ResponseHeadParserTests {
  private func parse(_ lines: [String], maximumBytes: Int = 4096) -> [ResponseHeadParser.Step] {
    var parser = ResponseHeadParser(maximumBytes: maximumBytes)
    return lines.map { line in
      Array(line.utf8).withUnsafeBytes { parser.consume($0) }
    }
  }

  private func complete(_ status: Int, _ headers: [(String, String)] = []) -> ResponseHeadParser.Step {
    .complete(HTTPResponseHead(status: status, headers: headers.map { HTTPHeader($0, $1) }))
  }

  private func isMalformed(_ step: ResponseHeadParser.Step?) -> Bool {
    if case .malformed? = step { true } else { false }
  }

  @Test func fieldsAreTrimmedAndKeepTheirOrder() {
    let steps = parse(["HTTP/1.1 200 OK\r\n", "b:  1 \t\r\n", "A: x: y\r\n", "Empty:\r\n", "\r\n"])
    #expect(steps.last == complete(200, [("b", "1"), ("A", "x: y"), ("Empty", "")]))
  }

  @Test func statusLinesInOddForms() {
    #expect(parse(["HTTP/1.0 404\n", "\n"]).last == complete(404))
    #expect(parse(["HTTP/1.1 999 \r\n", "\r\n"]).last == complete(999))
    for line in [
      "", "HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1 2x0", "HTTP/1.1 099", "ICY 200", "HTTP/1.1 -20",
    ] {
      #expect(isMalformed(parse([line + "\r\n"]).last), "\(line)")
    }
  }

  @Test func interimHeadsAreSkipped() {
    let steps = parse([
      "HTTP/1.1 100 Continue\r\n", "\r\n", "HTTP/1.1 103 Early\r\n", "Link: x\r\n", "\r\n", "HTTP/1.1 204 No\r\n",
      "A: b\r\n", "\r\n",
    ])
    #expect(steps.dropLast().allSatisfy { $0 == .more })
    #expect(steps.last == complete(204, [("A", "b")]))
  }

  @Test func trailersAreDroppedButCounted() {
    let head = ["HTTP/1.1 200 OK\r\n", "\r\n"]
    #expect(parse(head + ["HTTP/1.1 500 No\r\n", "x: y\r\n", "\r\n"]).suffix(3).allSatisfy { $0 == .more })
    #expect(isMalformed(parse(head + Array(repeating: "x: y\r\n", count: 20), maximumBytes: 100).last))
  }

  @Test func theLimitIsExact() {
    let head = ["HTTP/1.1 200 OK\r\n", "A: b\r\n", "\r\n"]
    let size = head.map(\.utf8.count).reduce(0, +)
    #expect(parse(head, maximumBytes: size).last == complete(200, [("A", "b")]))
    #expect(isMalformed(parse(head, maximumBytes: size - 1).last))
  }

  @Test func foldedLinesContinueAValue() {
    #expect(parse(["HTTP/1.1 200 OK\r\n", "A: b\r\n", " \t c\r\n", "\r\n"]).last == complete(200, [("A", "b c")]))
    #expect(isMalformed(parse(["HTTP/1.1 200 OK\r\n", " c\r\n"]).last))
  }

  @Test func fieldsThatAreNone() {
    for line in ["nothing", ": value", "a\0b: c", "a: b\0"] {
      #expect(isMalformed(parse(["HTTP/1.1 200 OK\r\n", line + "\r\n"]).last), "\(line)")
    }
  }
}

@Suite struct BodyFramingTests {
  private func framing(_ status: Int, _ headers: [(String, String)], _ method: HTTPMethod = .get) -> BodyFraming {
    BodyFraming(HTTPResponseHead(status: status, headers: headers.map { HTTPHeader($0, $1) }), method: method)
  }

  @Test func lengthsAreRead() {
    #expect(framing(200, [("content-length", "0")]) == .length(0))
    #expect(framing(206, [("Content-Length", "18446744073709551615")]) == .length(.max))
    #expect(framing(200, [("Content-Length", "5"), ("Content-Length", "05")]) == .length(5))
    #expect(framing(200, []) == .delimited)
    #expect(framing(200, [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]) == .delimited)
  }

  @Test func someResponsesHaveNoBody() {
    #expect(framing(200, [("Content-Length", "5")], .head) == .length(0))
    #expect(framing(304, [("Content-Length", "5")]) == .length(0))
    #expect(framing(204, []) == .length(0))
  }

  @Test func contradictionsAndNonsenseAreMalformed() {
    for value in ["", "-1", "+1", "1 2", "0x10", "18446744073709551616", "5, 6", "٣"] {
      #expect(framing(200, [("Content-Length", value)]) == .malformed, "\(value)")
    }
    #expect(framing(200, [("Content-Length", "5"), ("content-length", "6")]) == .malformed)
  }
}
