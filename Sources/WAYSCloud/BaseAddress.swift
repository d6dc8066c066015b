/// Checks the address of the service and removes a slash at its end.
///
/// The API key travels with every request, so that it must not go over a network in plain text: without TLS only this
/// machine is allowed.
func checkedBaseAddress(_ address: String) throws(ControlPlaneError) -> String {
  // Visible ASCII only: the rest could break the request line.
  guard address.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), !address.contains("?"), !address.contains("#") else {
    throw ControlPlaneError(.configuration, "The address of the control plane is not a web address.")
  }
  let schemes = ["https://", "http://"]
  guard let scheme = schemes.first(where: { address.lowercased().hasPrefix($0) }) else {
    throw ControlPlaneError(.configuration, "The address of the control plane does not begin with https://.")
  }
  let authority = address.dropFirst(scheme.count).prefix { $0 != "/" }
  guard !authority.isEmpty, !authority.contains("@") else {
    throw ControlPlaneError(.configuration, "The address of the control plane has no plain host name.")
  }
  guard scheme == "https://" || isThisMachine(authority) else {
    throw ControlPlaneError(
      .configuration, "The API key is not sent without TLS: the address of the control plane must begin with https://.")
  }
  return address.hasSuffix("/") ? String(address.dropLast()) : address
}

private func isThisMachine(_ authority: Substring) -> Bool {
  if authority == "[::1]" || authority.hasPrefix("[::1]:") { return true }
  let host = authority.prefix { $0 != ":" }
  if host == "localhost" { return true }
  let parts = host.split(separator: ".", omittingEmptySubsequences: false)
  return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
}
