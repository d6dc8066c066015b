import Basics
import Glibc

/// Produces the bytes of a request body, front to back, exactly as many as were announced.
struct UploadSource {
  private let body: HTTPBody
  private(set) var offset: UInt64 = 0
  let length: UInt64

  init(_ body: HTTPBody) {
    self.body = body
    length = body.length
  }

  /// Fills the start of `buffer`. Returns how many bytes it wrote, 0 at the end; nil when the bytes cannot be had.
  mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
    let count = Int(min(UInt64(buffer.count), length - offset))
    guard count > 0 else { return 0 }
    let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    let got: Int?
    switch body {
    case .none:
      got = nil
    case .bytes(let bytes):
      bytes.withUnsafeBytes { target.copyMemory(from: .init(rebasing: $0[Int(offset)..<Int(offset) + count])) }
      got = count
    case .file(let file, let start, _):
      got = Self.read(file, at: start, plus: offset, into: target)
    case .stream(_, let read):
      got = read(offset, target)
    }
    // Zero is a source that ends before the announced length.
    guard let got, got > 0, got <= count else { return nil }
    offset += UInt64(got)
    return got
  }

  private static func read(
    _ file: SharedDescriptor, at start: UInt64, plus offset: UInt64, into target: UnsafeMutableRawBufferPointer
  ) -> Int? {
    let (position, overflow) = start.addingReportingOverflow(offset)
    guard !overflow, let position = Int(exactly: position) else { return nil }
    while true {
      let got = pread(file.descriptor.rawValue, target.baseAddress, target.count, position)
      if got >= 0 { return got }
      guard errno == EINTR else { return nil }
    }
  }
}
