import Foundation

/// The control plane without its HTTP server: decides what each request gets.
///
/// An actor, so that two requests never change the names at once. It can be re-entered wherever it waits for the
/// backend: what must hold by then (a name is taken) is written down before.
actor ControlPlaneService<Backend: BucketBackend> {
  /// The region that the document knows for buckets; the S3 region is another.
  static var bucketRegion: String { "no-oslo-1" }
  static var tiers: Set<String> { ["standard", "enterprise"] }

  private let apiKey: String
  private var credentials: S3Credentials
  private let backend: Backend
  private let save: @Sendable (Set<String>) throws -> Void
  private let install: @Sendable (S3Credentials) throws -> Void
  private var faults: [Fault] = []
  /// Every name that was ever in use: a name is never given out twice, also after its bucket was deleted.
  private var usedNames: Set<String>

  /// - Parameters:
  ///   - save: keeps the names for the next start; called before a new name is used.
  ///   - install: makes the storage server take a new key pair and no other.
  init(
    apiKey: String, credentials: S3Credentials, backend: Backend, usedNames: Set<String>,
    save: @escaping @Sendable (Set<String>) throws -> Void,
    install: @escaping @Sendable (S3Credentials) throws -> Void = { _ in }
  ) {
    self.apiKey = apiKey
    self.credentials = credentials
    self.backend = backend
    self.usedNames = usedNames
    self.save = save
    self.install = install
  }

  func reply(method: String, path: String, apiKey given: String?, body: Data) async throws -> ControlPlaneReply {
    do {
      guard let given, !given.isEmpty else { throw Refusal(401, "The header X-API-Key is missing.") }
      guard given == apiKey else { throw Refusal(401, "The API key is not valid.") }
      let route = try ControlPlaneRoute(method: method, path: path)
      if route != .announceFault, route != .rotateCredentials, let reply = try nextFault() { return reply }
      switch route {
      case .listBuckets: return try await list()
      case .createBucket: return try await create(body)
      case .bucketDetails(let name): return try await details(name)
      case .deleteBucket(let name): return try await delete(name)
      case .credentials: return try ControlPlaneReply(json: credentials)
      case .protocolGuide: return guide()
      case .rotateCredentials: return try rotate()
      case .announceFault: return try announce(body)
      }
    } catch let refusal as Refusal {
      return try ControlPlaneReply(
        status: refusal.status, json: Outcome(success: false, message: refusal.message))
    }
  }

  private func list() async throws -> ControlPlaneReply {
    var list: [BucketDetails] = []
    for bucket in try await backend.buckets().sorted(by: { $0.name < $1.name }) {
      // One that disappears meanwhile is left out.
      guard let usage = try await backend.usage(of: bucket.name) else { continue }
      list.append(describe(bucket, usage))
    }
    return try ControlPlaneReply(json: BucketList(buckets: list, total: list.count))
  }

  private func details(_ name: String) async throws -> ControlPlaneReply {
    let (bucket, usage) = try await find(name)
    return try ControlPlaneReply(json: describe(bucket, usage))
  }

  private func create(_ body: Data) async throws -> ControlPlaneReply {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    guard let request = try? decoder.decode(CreateBucketRequest.self, from: body) else {
      throw Refusal(422, "The body is not the JSON object expected here.")
    }
    guard let name = request.bucketName else { throw Refusal(422, "The field bucket_name is required.") }
    if let problem = BucketName.problem(with: name) { throw Refusal(422, problem) }
    guard Self.tiers.contains(request.tier ?? "standard") else { throw Refusal(422, "There is no such tier.") }
    guard request.region ?? Self.bucketRegion == Self.bucketRegion else {
      throw Refusal(422, "There is no such region: only \(Self.bucketRegion) is available.")
    }
    guard !usedNames.contains(name) else { throw Refusal(409, "This name is taken, or was taken before.") }
    usedNames.insert(name)
    do {
      // S3 can make buckets too, past this service.
      guard try await !backend.buckets().contains(where: { $0.name == name }) else {
        throw Refusal(409, "This name is taken, or was taken before.")
      }
      try save(usedNames)
      try await backend.create(name)
    } catch let failure where !(failure is Refusal) {
      usedNames.remove(name)
      try? save(usedNames)
      throw failure
    }
    return try ControlPlaneReply(
      status: 201,
      json: BucketCreated(
        success: true, bucketName: name, message: "Bucket created.", endpoint: credentials.endpointUrl,
        region: Self.bucketRegion))
  }

  private func delete(_ name: String) async throws -> ControlPlaneReply {
    let (_, usage) = try await find(name)
    guard usage.objects == 0 else { throw Refusal(409, "The bucket is not empty.") }
    usedNames.insert(name)
    try save(usedNames)
    try await backend.remove(name)
    return try ControlPlaneReply(json: Outcome(success: true, message: "Bucket deleted."))
  }

  /// Published before the storage server changes over: who is refused there gets the new pair here.
  private func rotate() throws -> ControlPlaneReply {
    let pair = SandboxState.new()
    credentials.accessKeyId = pair.accessKeyID
    credentials.secretAccessKey = pair.secretAccessKey
    try install(credentials)
    return try ControlPlaneReply(json: credentials)
  }

  private func announce(_ body: Data) throws -> ControlPlaneReply {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    guard let fault = try? decoder.decode(Fault.self, from: body), (200...599).contains(fault.status) else {
      throw Refusal(422, "The body is not the JSON object expected here.")
    }
    faults.append(contentsOf: Array(repeating: fault, count: min(max(1, fault.times ?? 1), 1000)))
    return try ControlPlaneReply(json: Outcome(success: true, message: "Faults ahead: \(faults.count)."))
  }

  private func nextFault() throws -> ControlPlaneReply? {
    guard !faults.isEmpty else { return nil }
    let fault = faults.removeFirst()
    let message = fault.message ?? "The sandbox was told to answer \(fault.status)."
    var reply = try ControlPlaneReply(status: fault.status, json: Outcome(success: false, message: message))
    reply.retryAfter = fault.retryAfter
    return reply
  }

  private func find(_ name: String) async throws -> (StoredBucket, BucketUsage) {
    guard BucketName.problem(with: name) == nil,
      let bucket = try await backend.buckets().first(where: { $0.name == name }),
      let usage = try await backend.usage(of: name)
    else { throw Refusal(404, "There is no such bucket.") }
    return (bucket, usage)
  }

  private func describe(_ bucket: StoredBucket, _ usage: BucketUsage) -> BucketDetails {
    BucketDetails(
      name: bucket.name, region: Self.bucketRegion, createdAt: bucket.created.ISO8601Format(),
      sizeBytes: usage.bytes, objectCount: usage.objects, isPublic: false)
  }

  private func guide() -> ControlPlaneReply {
    let text = """
      # S3 protocol guide

      This is a sandbox on your own machine. Use any S3 client, with path-style addresses.

      Endpoint: \(credentials.endpointUrl) | Region: \(credentials.region)

      The keys are at /v1/storage/credentials.

      """
    return ControlPlaneReply(contentType: "text/markdown; charset=utf-8", body: Data(text.utf8))
  }
}
