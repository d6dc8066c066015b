/// The address of an S3 server: scheme, host and port.
struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  let isTLS: Bool
  /// A name, an IPv4 address, or an IPv6 address in brackets.
  let host: String
  /// As written; nil for the scheme's own.
  let port: UInt16?

  init(parsing text: String) throws(UsageError) {
    let lowercased = text.lowercased()
    let rest: Substring
    if lowercased.hasPrefix("https://") {
      (isTLS, rest) = (true, text.dropFirst(8))
    } else if lowercased.hasPrefix("http://") {
      (isTLS, rest) = (false, text.dropFirst(7))
    } else {
      throw UsageError("'\(text)' is not an address of a server: it must start with https:// or http://")
    }
    guard !rest.contains("@") else {
      throw UsageError("the address of the server must not contain a user or password")
    }
    let authority = rest.hasSuffix("/") ? rest.dropLast() : rest
    guard !authority.contains(where: { "/?#".contains($0) }) else {
      throw UsageError(
        "'\(text)' has a path or query: give only https://host[:port], and the bucket as BUCKET[:PREFIX]")
    }
    let hostEnd: Substring.Index
    if authority.hasPrefix("[") {
      guard let bracket = authority.firstIndex(of: "]") else {
        throw UsageError("'\(text)' has no ']' after the IPv6 address")
      }
      hostEnd = authority.index(after: bracket)
    } else {
      hostEnd = authority.firstIndex(of: ":") ?? authority.endIndex
    }
    host = authority[..<hostEnd].lowercased()
    let portText = authority[hostEnd...]
    guard Self.isHost(host) else { throw UsageError("'\(text)' has no valid host name") }
    if portText.isEmpty {
      port = nil
    } else {
      guard portText.hasPrefix(":"), portText.dropFirst().allSatisfy(\.isASCII),
        let number = try? OptionValue.number(String(portText.dropFirst()), in: 1...65535)
      else { throw UsageError("'\(text)' has no valid port") }
      port = UInt16(number)
    }
  }

  /// The address as a URL without a trailing slash.
  var description: String {
    "\(isTLS ? "https" : "http")://\(host)\(port.map { ":\($0)" } ?? "")"
  }

  /// Whether requests stay on this machine, as far as the name tells.
  var isLoopback: Bool {
    host == "localhost" || host.hasSuffix(".localhost") || host.hasPrefix("127.") || host == "[::1]"
  }

  private static func isHost(_ host: String) -> Bool {
    if host.hasPrefix("[") {
      let address = host.dropFirst().dropLast()
      return !address.isEmpty && address.allSatisfy { "0123456789abcdef:.".contains($0) }
    }
    let labels = host.split(separator: ".", omittingEmptySubsequences: false)
    // One empty label at the end is the root of the DNS.
    let named = labels.last?.isEmpty == true && labels.count > 1 ? labels.dropLast() : labels[...]
    return host.utf8.count <= 253
      && named.allSatisfy { label in
        (1...63).contains(label.utf8.count)
          && label.utf8.allSatisfy {
            (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == UInt8(ascii: "-")
              || $0 == UInt8(ascii: "_")
          }
      }
  }
}
