package grpcjson

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"   // for sets that leave it out
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // details of errors, likewise
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// depthMax is how deep messages may be nested in a body, and the most names of a field path.
const depthMax = 100

// Options say what a [Set] does besides what its rules say.
type Options struct {
	// Print says how JSON looks.
	Print Print
	// AutoMapping lets every method be called by POST /<service>/<method>, with the message as the body.
	AutoMapping bool
	// IgnoredQuery are parameters of a query that no field is looked for.
	IgnoredQuery []string
	// IgnoreUnknownQuery leaves out parameters that no field has the name of.
	IgnoreUnknownQuery bool
	// QueryPlus makes a space of "+" in a query.
	QueryPlus bool
	// Unescape is for variables of several segments.
	Unescape Unescape
	// UnknownVerb takes ":" and what follows it at the end of a path for a verb, even if no rule has it.
	UnknownVerb bool
	// FoldEnums takes names of enum values in any case.
	FoldEnums bool
	// RejectCollisions refuses a body with a field that the path or the query sets too.
	RejectCollisions bool
}

// Print says how JSON looks.
type Print struct {
	// Whitespace puts each field on a line.
	Whitespace bool
	// Defaults prints fields without presence, lists and maps that are empty, too.
	Defaults bool
	// EnumNumbers prints enum values as numbers.
	EnumNumbers bool
	// ProtoNames prints the names of fields as in the proto file.
	ProtoNames bool
}

// A Problem is what is wrong with what [Load] was given.
type Problem struct {
	Service int // the index of the service it is about, -1 for the descriptor set
	Text    string
	Hint    string
}

// A Set is the methods that can be called, found by their rules. It never changes.
type Set struct {
	options Options
	root    node
	verbs   map[string]bool
	ignored map[string]bool
	types   resolver
}

// A Method is a method of gRPC.
type Method struct {
	// Path of the gRPC request: "/package.Service/Method".
	Path string
	// ClientStreaming and ServerStreaming say that there are many messages in the request, in the response.
	ClientStreaming, ServerStreaming bool

	set           *Set
	input, output protoreflect.MessageDescriptor
}

// A rule is one HTTP binding of a method.
type rule struct {
	method   *Method
	template *template
	vars     [][]protoreflect.FieldDescriptor // of template.vars
	body     []protoreflect.FieldDescriptor   // nil is the whole message if hasBody
	hasBody  bool
	response []protoreflect.FieldDescriptor // nil is the whole message
}

// Load makes a set of the services of a serialized google.protobuf.FileDescriptorSet.
func Load(descriptors []byte, services []string, o Options) (*Set, []Problem) {
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(descriptors, &files); err != nil {
		return nil, []Problem{{-1, fmt.Sprintf("not a google.protobuf.FileDescriptorSet: %v", errText(err)),
			"make it with protoc --include_imports --descriptor_set_out=FILE"}}
	}
	known, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(&files)
	if err != nil {
		return nil, []Problem{{-1, "descriptor set: " + errText(err), "was it made with protoc --include_imports?"}}
	}
	s := &Set{options: o, verbs: map[string]bool{}, ignored: map[string]bool{}, types: resolver{dynamicpb.NewTypes(known)}}
	for _, name := range o.IgnoredQuery {
		s.ignored[name] = true
	}
	var problems []Problem
	for i, name := range services {
		d, err := known.FindDescriptorByName(protoreflect.FullName(name))
		service, ok := d.(protoreflect.ServiceDescriptor)
		if err != nil || !ok {
			problems = append(problems, Problem{i, fmt.Sprintf("no service %q in the descriptor set", name), servicesOf(known, name)})
			continue
		}
		for at := range service.Methods().Len() {
			if text := s.addMethod(service.Methods().Get(at)); text != "" {
				problems = append(problems, Problem{i, text, ""})
			}
		}
	}
	return s, problems
}

// errText is what an error of package proto says. It puts spaces at random to keep others from comparing it.
func errText(err error) string {
	return strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
}

// servicesMax is how many services a hint names.
const servicesMax = 10

// servicesOf is the hint for a service that does not exist: those that do, best first.
func servicesOf(files *protoregistry.Files, name string) string {
	var names []string
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			names = append(names, string(f.Services().Get(i).FullName()))
		}
		return true
	})
	if len(names) == 0 {
		return "it has no services"
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	far := func(n string) int {
		if strings.EqualFold(n[strings.LastIndexByte(n, '.')+1:], last) {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(far(a)-far(b), strings.Compare(a, b)) })
	return "it has " + strings.Join(names[:min(len(names), servicesMax)], ", ")
}

// addMethod enters the rules of a method. It returns what is wrong with them, or "".
func (s *Set) addMethod(d protoreflect.MethodDescriptor) string {
	m := &Method{
		Path: "/" + string(d.Parent().FullName()) + "/" + string(d.Name()), set: s, input: d.Input(), output: d.Output(),
		ClientStreaming: d.IsStreamingClient(), ServerStreaming: d.IsStreamingServer(),
	}
	if m.input.IsPlaceholder() || m.output.IsPlaceholder() {
		return fmt.Sprintf("method %s: the descriptor set lacks the types of its messages", d.FullName())
	}
	options, _ := d.Options().(*descriptorpb.MethodOptions)
	http, _ := proto.GetExtension(options, annotations.E_Http).(*annotations.HttpRule)
	var text string
	if http != nil {
		text = s.addRule(m, http)
		for _, more := range http.GetAdditionalBindings() {
			if text == "" {
				text = s.addRule(m, more)
			}
		}
	}
	if s.options.AutoMapping && text == "" {
		t, _ := parseTemplate(m.Path)
		s.root.add(t, "POST", &rule{method: m, template: t, hasBody: true})
	}
	if text != "" {
		return fmt.Sprintf("method %s: %s", d.FullName(), text)
	}
	return ""
}

// addRule enters one rule. It returns what is wrong with it, or "".
func (s *Set) addRule(m *Method, http *annotations.HttpRule) string {
	method, path := patternOf(http)
	if method == "" {
		return "a google.api.http rule has no pattern"
	}
	t, err := parseTemplate(path)
	if err != nil {
		return fmt.Sprintf("path template %q: %v", path, err)
	}
	r := &rule{method: m, template: t}
	for _, v := range t.vars {
		field, err := fieldPath(m.input, v.field)
		if err == nil {
			err = bindable(field[len(field)-1], false)
		}
		if err != nil {
			return fmt.Sprintf("path template %q: variable %q: %v", path, v.field, err)
		}
		r.vars = append(r.vars, field)
	}
	if r.hasBody = http.GetBody() != ""; r.hasBody && http.GetBody() != "*" {
		if r.body, err = fieldPath(m.input, http.GetBody()); err != nil {
			return fmt.Sprintf("body %q: %v", http.GetBody(), err)
		}
	}
	if name := http.GetResponseBody(); name != "" && name != "*" {
		if r.response, err = fieldPath(m.output, name); err != nil {
			return fmt.Sprintf("response_body %q: %v", name, err)
		}
	}
	if !s.root.add(t, method, r) {
		return fmt.Sprintf("path template %q: another method has it for %s", path, method)
	}
	if t.verb != "" {
		s.verbs[t.verb] = true
	}
	return ""
}

// patternOf returns the HTTP method and the path template of a rule.
func patternOf(http *annotations.HttpRule) (method, path string) {
	switch p := http.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

// resolver finds types in the descriptor set, and those that come with the program.
type resolver struct{ *dynamicpb.Types }

func (r resolver) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if t, err := r.Types.FindMessageByName(name); err == nil {
		return t, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (r resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return r.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}
