import Basics
import COpenSSL
import Glibc
import ObjectStore

/// A message digest under way, computed by OpenSSL.
///
/// May go from thread to thread: its context is reached through this one value only, and keeps no pointer to its input.
struct Digest: ~Copyable, @unchecked Sendable {
  /// The digests S3 asks for.
  enum Algorithm {
    case sha256
    case md5
  }

  private let context: OpaquePointer?
  private var healthy: Bool

  init(_ algorithm: Algorithm) {
    context = EVP_MD_CTX_new()
    let method = algorithm == .sha256 ? EVP_sha256() : EVP_md5()
    healthy = EVP_DigestInit_ex(context, method, nil) == 1
  }

  deinit { EVP_MD_CTX_free(context) }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard healthy, !bytes.isEmpty else { return }
    healthy = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1
  }

  /// The digest; empty when OpenSSL refused (MD5 in a FIPS configuration), which no server takes for a digest.
  consuming func finish() -> [UInt8] {
    var length: UInt32 = 0
    var value = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    guard healthy, EVP_DigestFinal_ex(context, &value, &length) == 1 else { return [] }
    return Array(value.prefix(Int(length)))
  }

  static func of(_ bytes: [UInt8], _ algorithm: Algorithm) -> [UInt8] {
    var digest = Digest(algorithm)
    bytes.withUnsafeBytes { digest.update($0) }
    return digest.finish()
  }

  /// Reads a file body in pieces on the calling thread.
  static func of(_ body: ObjectBody, _ algorithm: Algorithm) throws(ObjectStoreError) -> [UInt8] {
    switch body {
    case .bytes(let bytes): return of(bytes, algorithm)
    case .file(let file, let offset, let length):
      var digest = Digest(algorithm)
      let pieceSize = Int(min(length, 1 << 20))
      let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, pieceSize), alignment: 16)
      defer { piece.deallocate() }
      var done: UInt64 = 0
      while done < length {
        let wanted = Int(min(UInt64(pieceSize), length - done))
        let got = try file.read(UnsafeMutableRawBufferPointer(rebasing: piece[..<wanted]), at: offset &+ done)
        digest.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(piece)[..<got]))
        done += UInt64(got)
      }
      return digest.finish()
    }
  }
}

extension SharedDescriptor {
  /// Reads some bytes of a body, at least one.
  func read(_ target: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ObjectStoreError) -> Int {
    while true {
      let got = pread(descriptor.rawValue, target.baseAddress, target.count, off_t(clamping: offset))
      if got < 0 && errno == EINTR { continue }
      guard got > 0 else {
        let reason = got == 0 ? "The file is shorter than announced." : "Reading the file failed: errno \(errno)."
        throw ObjectStoreError(.localReadFailed, reason)
      }
      return got
    }
  }
}

/// HMAC-SHA256 (RFC 2104).
func hmacSHA256(key: [UInt8], _ message: some Collection<UInt8>) -> [UInt8] {
  let message = Array(message)
  var value = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
  var length: UInt32 = 0
  guard HMAC(EVP_sha256(), key, Int32(key.count), message, message.count, &value, &length) != nil else { return [] }
  return Array(value.prefix(Int(length)))
}

/// Bytes as lowercase hexadecimal digits.
func hexadecimal(_ bytes: [UInt8]) -> String {
  func digit(_ value: UInt8) -> UInt8 { value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10 }
  return String(unsafeUninitializedCapacity: bytes.count * 2) { out in
    for (index, byte) in bytes.enumerated() {
      out[2 * index] = digit(byte >> 4)
      out[2 * index + 1] = digit(byte & 15)
    }
    return bytes.count * 2
  }
}

/// The bytes of hexadecimal digits; nil for anything else.
func bytes(hexadecimal text: String) -> [UInt8]? {
  let digits = Array(text.utf8)
  guard digits.count.isMultiple(of: 2) else { return nil }
  var bytes: [UInt8] = []
  for index in stride(from: 0, to: digits.count, by: 2) {
    guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else { return nil }
    bytes.append(high << 4 | low)
  }
  return bytes
}

/// The value of one hexadecimal digit.
func nibble(_ digit: UInt8) -> UInt8? {
  switch digit {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
  default: nil
  }
}

/// Base64 with padding (RFC 4648, section 4).
func base64(_ bytes: [UInt8]) -> String {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var out: [UInt8] = []
  for start in stride(from: 0, to: bytes.count, by: 3) {
    let group = bytes[start..<min(start + 3, bytes.count)]
    var word: UInt32 = 0
    for byte in group { word = word << 8 | UInt32(byte) }
    word <<= UInt32(8 * (3 - group.count))
    for position in 0..<4 {
      let digit = alphabet[Int(word >> UInt32(18 - 6 * position) & 63)]
      out.append(position <= group.count ? digit : UInt8(ascii: "="))
    }
  }
  return String(decoding: out, as: UTF8.self)
}
