/// A document whose elements are read by name, wherever they are: for answers with a few fields. Of elements with the
/// same name the first one counts.
struct FlatDocument {
  private struct Handler: XMLElementHandler {
    var root = ""
    var fields: [String: String] = [:]

    mutating func begin(_ name: String, depth: Int) {
      if depth == 1 { root = name }
    }

    mutating func end(_ name: String, text: String, depth: Int) {
      if depth > 1 && fields[name] == nil { fields[name] = text }
    }
  }

  /// The name of the outermost element.
  let root: String
  private let fields: [String: String]

  /// Parses the document; whitespace before it is allowed: a server that takes long keeps the connection alive with it.
  init(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) throws(XMLError) {
    let handler = try parseXML(Array(withoutLeadingSpace(bytes)), limits: limits, into: Handler())
    root = handler.root
    fields = handler.fields
  }

  /// The text of an element.
  subscript(name: String) -> String? { fields[name] }
}

/// The bytes from the first that is not XML white space.
func withoutLeadingSpace(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
  bytes.drop { [0x20, 0x09, 0x0A, 0x0D].contains($0) }
}
