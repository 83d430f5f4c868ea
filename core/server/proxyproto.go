package server

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTime is how long the header of the PROXY protocol may take, on a connection that must begin with one.
const proxyHeaderTime = 5 * time.Second

// signatureV2 begins a header of version 2.
var signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

// The bounds of the PROXY protocol's specification: no header is shorter than leastProxy, "PROXY UNKNOWN\r\n", and a text
// one is not longer than mostProxyV1. A binary one says its length, of which a proxy needs no more than mostProxyV2.
const (
	leastProxy  = 15
	mostProxyV1 = 107
	mostProxyV2 = 4096
)

var errProxyHeader = errors.New("no valid header of the PROXY protocol")

// readProxyHeader reads the header of the PROXY protocol, version 1 or 2, and not a byte more, and gives the client that
// it names, and what the client connected to: peer and local themselves where it names none (LOCAL, UNKNOWN).
func readProxyHeader(nc net.Conn, peer, local netip.AddrPort) (client, to netip.AddrPort, err error) {
	_ = nc.SetReadDeadline(time.Now().Add(proxyHeaderTime))
	defer func() { _ = nc.SetReadDeadline(time.Time{}) }()
	raw, err := proxyHeader(nc)
	if err != nil {
		return peer, local, err
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return peer, local, errors.Join(errProxyHeader, err)
	}
	if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() {
		return peer, local, nil
	}
	from, ok := h.SourceAddr.(*net.TCPAddr)
	at, is := h.DestinationAddr.(*net.TCPAddr)
	if !ok || !is || !h.TransportProtocol.IsStream() {
		return peer, local, errProxyHeader
	}
	return addrPort(from), addrPort(at), nil
}

// proxyHeader reads the bytes of the header: what follows them is TLS or HTTP and not ours to take.
func proxyHeader(r io.Reader) ([]byte, error) {
	var small [mostProxyV1]byte
	head := small[:leastProxy]
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(head, signatureV2) {
		head = small[:leastProxy+1]
		if _, err := io.ReadFull(r, head[leastProxy:]); err != nil {
			return nil, err
		}
		rest := int(head[14])<<8 | int(head[15])
		if rest > mostProxyV2 {
			return nil, errProxyHeader
		}
		whole := append(head[:len(head):len(head)], make([]byte, rest)...)
		_, err := io.ReadFull(r, whole[len(head):])
		return whole, err
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return nil, errProxyHeader
	}
	for head[len(head)-1] != '\n' {
		if len(head) == mostProxyV1 {
			return nil, errProxyHeader
		}
		head = head[:len(head)+1]
		if _, err := io.ReadFull(r, head[len(head)-1:]); err != nil {
			return nil, err
		}
	}
	return head, nil
}
