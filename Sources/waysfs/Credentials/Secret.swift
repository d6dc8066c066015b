/// A text that must not be shown: printing, interpolating or dumping it gives a placeholder.
struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The text itself, for the one place that signs or sends it.
  let revealed: String

  init(_ text: String) { revealed = text }

  var description: String { "<secret>" }
  var debugDescription: String { "<secret>" }
  var customMirror: Mirror { Mirror(self, children: []) }
}

/// An S3 key pair.
struct KeyPair: Hashable, Sendable {
  /// Not secret: it names the key.
  var accessKeyID: String
  var secretAccessKey: Secret
  var sessionToken: Secret?
}
