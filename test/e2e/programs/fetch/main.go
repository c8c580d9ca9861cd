// fetch URL: a static Go program with Go's own resolver; prints status, body and the local address's host.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	body, _ := io.ReadAll(response.Body)
	addresses, _ := net.LookupHost("orders")
	fmt.Println(response.StatusCode, len(addresses), string(body))
}
