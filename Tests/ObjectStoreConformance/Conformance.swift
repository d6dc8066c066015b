import Basics
public import ObjectStore

/// What a server is known to do differently. Everything else must be as S3 documents it.
public struct StoreTraits: Sendable {
  /// PUT obeys `If-Match` and `If-None-Match`.
  public var conditionalPut = true
  /// Complete obeys `If-None-Match`.
  public var completeIfAbsent = true
  /// Complete obeys `If-Match`.
  public var completeIfMatch = true
  /// GET obeys `If-Match`, or the client notices.
  public var conditionalGet = true
  /// Copy obeys `x-amz-copy-source-if-match`.
  public var conditionalCopy = true
  /// Parts can be made from ranges of other objects.
  public var copyPart = true
  /// Listings are in byte order, over all pages.
  public var byteOrder = true
  /// A `name/` object is one, and is listed; false is a server that makes `name` of it.
  public var markers = true
  /// The metadata of a `name/` object is kept.
  public var markerMetadata = true
  /// `a` and `a/b` can be objects at the same time.
  public var nested = true
  /// Parts but the last must have 5 MiB.
  public var minimumPartSize = true
  /// Parts may be sent in any order, with gaps in their numbers, and again.
  public var partsInAnyOrder = true
  /// The tag that Complete tells is the object's.
  public var completeTellsTag = true
  /// The tag of an object of parts shows that it is one; false is a server that gives it the MD5 of the whole.
  public var partsTag = true
  /// Uploads under way and their parts are listed.
  public var listsUploads = true
  /// Keys may have components of 256 bytes and more.
  public var longComponents = true
  /// Keys may have line breaks.
  public var lineBreaks = true
  /// Keys may have control characters other than line breaks and tabs.
  public var controlCharacters = true
  /// A backslash is a character like any other.
  public var backslash = true
  /// Composed and decomposed characters are two; false is a server that takes one for the other.
  public var unicodeForms = true
  /// New attributes replace those of the source; false is a server that merges them.
  public var copyReplacesAttributes = true
  /// An upload that is gone is told from a failure of the server.
  public var noSuchUpload = true
  /// `start-after` is obeyed in delimited listings.
  public var startAfter = true
  /// Content types are kept.
  public var contentType = true

  /// The traits of S3 itself.
  public init() {}
}

/// What a check found wrong.
public struct ConformanceFailure: Error, CustomStringConvertible {
  /// What was expected, and where.
  public let description: String
}

/// What a check works with: a store, and a prefix of its own in it.
public struct ConformanceContext: Sendable {
  /// The store under test.
  public let store: any ObjectStore
  /// What it is known to do differently.
  public let traits: StoreTraits
  /// All keys of a check begin with this.
  public let prefix: String

  /// Makes a context.
  public init(store: any ObjectStore, traits: StoreTraits, prefix: String) {
    self.store = store
    self.traits = traits
    self.prefix = prefix
  }

  func key(_ name: String) -> ObjectKey { ObjectKey(prefix + name) }

  func expect(_ condition: Bool, _ message: @autoclosure () -> String, line: Int = #line, file: String = #fileID) throws
  {
    guard condition else { throw ConformanceFailure(description: "\(file):\(line): \(message())") }
  }

  func expectEqual<Value: Equatable>(
    _ left: Value, _ right: Value, line: Int = #line, file: String = #fileID
  ) throws {
    try expect(left == right, "\(left) is not \(right)".prefixed(400), line: line, file: file)
  }

  func expectBytes(_ left: [UInt8], _ right: [UInt8], line: Int = #line, file: String = #fileID) throws {
    try expect(
      left == right, "\(left.count) bytes differ from the \(right.count) expected", line: line, file: file)
  }

  func expectFailure<Value>(
    _ codes: ObjectStoreError.Code..., line: Int = #line, file: String = #fileID,
    _ work: () throws(ObjectStoreError) -> Value
  ) throws {
    try expectFailure(codes, line: line, file: file, work)
  }

  func expectFailure<Value>(
    _ codes: [ObjectStoreError.Code], line: Int = #line, file: String = #fileID,
    _ work: () throws(ObjectStoreError) -> Value
  ) throws {
    do throws(ObjectStoreError) { _ = try work() } catch {
      return try expect(codes.contains(error.code), "failed with \(error)", line: line, file: file)
    }
    try expect(false, "did not fail with \(codes)", line: line, file: file)
  }

  /// All pages of a listing below the prefix.
  func listAll(
    _ prefix: String = "", delimited: Bool, limit: Int = 1000, startAfter: String? = nil
  ) throws -> (entries: [ListEntry], prefixes: [String], pages: Int) {
    var request = ListRequest(
      prefix: self.prefix + prefix, delimited: delimited, startAfter: startAfter.map { key($0) }, limit: limit)
    var (entries, prefixes, pages) = ([ListEntry](), [String](), 0)
    repeat {
      let page = try store.list(request)
      try expect(page.entries.count + page.prefixes.count <= limit, "a page has more entries than asked for")
      entries += page.entries
      prefixes += page.prefixes
      pages += 1
      request.continuation = page.continuation
    } while request.continuation != nil && pages < 10_000
    return (entries, prefixes, pages)
  }
}

/// One thing that every store must do.
public struct ConformanceCheck: Sendable, CustomStringConvertible {
  /// What it is about, in words.
  public let name: String
  let work: @Sendable (ConformanceContext) throws -> Void

  init(_ name: String, _ work: @escaping @Sendable (ConformanceContext) throws -> Void) {
    self.name = name
    self.work = work
  }

  /// The name.
  public var description: String { name }

  /// Runs the check against a store, below `prefix`.
  /// - Throws: `ConformanceFailure`, or the store's own error.
  public func run(on store: any ObjectStore, traits: StoreTraits = StoreTraits(), prefix: String = "") throws {
    let slug = String(name.map { $0.isLetter || $0.isNumber ? $0 : "-" })
    try work(ConformanceContext(store: store, traits: traits, prefix: "\(prefix)\(slug)/"))
  }

  /// Every check.
  public static let all: [ConformanceCheck] =
    objectChecks + rangeChecks + nameChecks + conditionChecks + copyChecks + multipartChecks + partChecks + listChecks
}

extension String {
  func prefixed(_ count: Int) -> String { String(prefix(count)) }
}

/// Bytes that differ from place to place, the same for the same seed.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count + 8)
  while bytes.count < count {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    withUnsafeBytes(of: state) { bytes.append(contentsOf: $0) }
  }
  bytes.removeLast(bytes.count - count)
  return bytes
}
