import CExpat
import Glibc

/// Receives the elements of a document in order. Names come without a namespace prefix.
protocol XMLElementHandler {
  /// An element begins; `depth` is 1 for the root.
  mutating func begin(_ name: String, depth: Int)
  /// An element ends; `text` is the text directly in it.
  mutating func end(_ name: String, text: String, depth: Int)
}

/// Why a document was refused.
struct XMLError: Error, Hashable {
  var message: String
}

/// What a document may cost.
struct XMLLimits: Hashable, Sendable {
  /// Elements within elements; S3's answers have five.
  var depth = 16
  /// Bytes of text in one element: keys have 1 KiB, three times that when encoded.
  var text = 64 << 10
}

/// Parses a document with expat. A document type declaration is refused, and with it every entity of the document's
/// own, so that a small answer cannot unfold into a large one.
func parseXML<Handler: XMLElementHandler>(
  _ bytes: [UInt8], limits: XMLLimits = XMLLimits(), into handler: Handler
) throws(XMLError) -> Handler {
  let reader = XMLReader(handler, limits)
  guard let parser = XML_ParserCreate(nil) else { throw XMLError(message: "There is no memory for a parser.") }
  defer { XML_ParserFree(parser) }
  reader.parser = parser
  return try withExtendedLifetime(reader) { () throws(XMLError) -> Handler in
    XML_SetUserData(parser, Unmanaged.passUnretained(reader as XMLReaderBase).toOpaque())
    XML_SetElementHandler(parser, xmlElementBegins, xmlElementEnds)
    XML_SetCharacterDataHandler(parser, xmlTextArrives)
    XML_SetStartDoctypeDeclHandler(parser, xmlDoctypeBegins)
    // Fed in pieces: expat takes lengths as Int32.
    let pieceSize = 1 << 20
    var offset = 0
    repeat {
      let end = min(bytes.count, offset + pieceSize)
      let status = bytes[offset..<end].withUnsafeBytes { raw in
        XML_Parse(parser, raw.bindMemory(to: CChar.self).baseAddress, Int32(raw.count), end == bytes.count ? 1 : 0)
      }
      if let refusal = reader.refusal { throw refusal }
      guard status == XML_STATUS_OK else {
        let reason = XML_ErrorString(XML_GetErrorCode(parser)).map { String(cString: $0) } ?? "not well-formed"
        throw XMLError(message: "line \(XML_GetCurrentLineNumber(parser)): \(reason)")
      }
      offset = end
    } while offset < bytes.count
    return reader.handler
  }
}

/// What expat's callbacks see: they cannot be generic.
private class XMLReaderBase {
  let limits: XMLLimits
  var parser: XML_Parser?
  var refusal: XMLError?
  private var names: [String] = []
  /// The text of all open elements, one after the other, and where that of each begins.
  private var texts: [UInt8] = []
  private var starts: [Int] = []

  init(_ limits: XMLLimits) { self.limits = limits }

  func handleBegin(_ name: String, _ depth: Int) {}
  func handleEnd(_ name: String, _ text: String, _ depth: Int) {}

  func begin(_ qualified: UnsafePointer<CChar>) {
    guard refusal == nil else { return }
    guard names.count < limits.depth else { return refuse("Elements are nested too deeply.") }
    let name = String(cString: strrchr(qualified, Int32(UInt8(ascii: ":"))).map { UnsafePointer($0) + 1 } ?? qualified)
    names.append(name)
    starts.append(texts.count)
    handleBegin(name, names.count)
  }

  func end() {
    guard refusal == nil, let name = names.popLast(), let start = starts.popLast() else { return }
    let text = String(decoding: texts[start...], as: UTF8.self)
    texts.removeLast(texts.count - start)
    handleEnd(name, text, names.count + 1)
  }

  func text(_ bytes: UnsafeBufferPointer<CChar>) {
    guard refusal == nil, let start = starts.last else { return }
    guard texts.count - start + bytes.count <= limits.text else { return refuse("An element has too much text.") }
    texts.append(contentsOf: UnsafeRawBufferPointer(bytes))
  }

  func refuse(_ message: String) {
    refusal = XMLError(message: message)
    if let parser { XML_StopParser(parser, 0) }
  }
}

private final class XMLReader<Handler: XMLElementHandler>: XMLReaderBase {
  var handler: Handler

  init(_ handler: Handler, _ limits: XMLLimits) {
    self.handler = handler
    super.init(limits)
  }

  override func handleBegin(_ name: String, _ depth: Int) { handler.begin(name, depth: depth) }
  override func handleEnd(_ name: String, _ text: String, _ depth: Int) { handler.end(name, text: text, depth: depth) }
}

private func reader(_ data: UnsafeMutableRawPointer?) -> XMLReaderBase? {
  data.map { Unmanaged<XMLReaderBase>.fromOpaque($0).takeUnretainedValue() }
}

private func xmlElementBegins(
  _ data: UnsafeMutableRawPointer?, _ name: UnsafePointer<CChar>?,
  _ attributes: UnsafeMutablePointer<UnsafePointer<CChar>?>?
) {
  guard let name else { return }
  reader(data)?.begin(name)
}

private func xmlElementEnds(_ data: UnsafeMutableRawPointer?, _ name: UnsafePointer<CChar>?) {
  reader(data)?.end()
}

private func xmlTextArrives(_ data: UnsafeMutableRawPointer?, _ text: UnsafePointer<CChar>?, _ length: Int32) {
  reader(data)?.text(UnsafeBufferPointer(start: text, count: Int(length)))
}

private func xmlDoctypeBegins(
  _ data: UnsafeMutableRawPointer?, _ name: UnsafePointer<CChar>?, _ system: UnsafePointer<CChar>?,
  _ id: UnsafePointer<CChar>?, _ hasSubset: Int32
) {
  reader(data)?.refuse("The document has a type declaration.")
}
